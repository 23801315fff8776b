"""One installation for the whole folder: every source, odd servers, one worker, one embedded server."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "http"))
sys.path.insert(0, str(Path(__file__).parent.parent / "integration"))

from odd_provider import ODD_KEY, OddProvider, places
from source_installation import LONG, SourceInstallation, key_variable, model_of
from tls_server import TlsServer

from chatq.contract.connection import Source


@pytest.fixture(scope="session")
def odd() -> Iterator[OddProvider]:
    """The server that does what no provider should."""
    with OddProvider() as provider:
        yield provider


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsServer]:
    """A server whose certificate nobody knows."""
    with TlsServer(tmp_path_factory.mktemp("tls")) as server:
        yield server


@pytest.fixture(scope="session")
def key_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of key files, good and bad ones."""
    folder = tmp_path_factory.mktemp("keys")
    for name, text, mode in (
        ("good", f"{ODD_KEY}\n", 0o600),
        ("readable", ODD_KEY, 0o644),
        ("empty", " \n", 0o600),
        ("two-lines", f"{ODD_KEY}\n{ODD_KEY}\n", 0o600),
    ):
        (folder / name).write_text(text)
        (folder / name).chmod(mode)
    return folder


@pytest.fixture(scope="session")
def sources(
    tmp_path_factory: pytest.TempPathFactory, odd: OddProvider, tls: TlsServer, key_files: Path
) -> Iterator[SourceInstallation]:
    """Every source, a connection for each oddity, and one worker that lives throughout.

    Job names must be unique to their test.
    """

    def custom(url: str, **keys: Any) -> dict[str, Any]:
        return {
            "source": "custom",
            "url": url,
            "model": "m",
            "api_key": "env:TEST_ODD_KEY",
            "retry": {"max_attempts": 1},
            **keys,
        }

    impatient = {"connect": "0.3s", "total": "0.3s"}
    others = {
        **{f"odd-{place}": custom(f"{odd.url}/{place}/v1") for place in places() if place != "caught"},
        "impatient-streamed-claude": {
            "source": "claude",
            "url": "simulator",
            "model": model_of("claude"),
            "api_key": f"env:{key_variable('claude')}",
            "params": {"max_tokens": LONG},
            "timeout": {"connect": "1s", "total": "1s"},
            "retry": {"max_attempts": 1},
        },
        "odd-silent": custom(f"{odd.url}/silent/v1", timeout=impatient),
        "odd-pages": {"source": "claude", "url": f"{odd.url}/pages", "api_key": "env:TEST_ODD_KEY"},
        "odd-endless-pages": {"source": "claude", "url": f"{odd.url}/endless-pages", "api_key": "env:TEST_ODD_KEY"},
        "without-v1": custom(f"{odd.url}/good"),
        "without-v1-of-openai": {**custom(f"{odd.url}/good"), "source": "openai"},
        "page-without-v1": custom(f"{odd.url}/page-beside-v1"),
        "wrong-path": custom(f"{odd.url}/no-such/place"),
        "typo-in-model": custom(f"{odd.url}/good/v1", model="gpt-5-mni"),
        "refused": custom("http://127.0.0.1:9/v1"),
        "unknown-host": custom("http://no-such-host.invalid/v1"),
        "unknown-certificate": custom(f"{tls.url}/v1"),
        "no-tls": custom(f"{odd.url.replace('http:', 'https:')}/good/v1"),
        "bypassed": custom(f"{odd.url}/good/v1", bypass_status_check=True),
        "asked-for-a-key": custom("{simulator}/openai/v1", model=model_of("openai"), api_key=None),
        "no-key": custom(f"{odd.url}/good/v1", api_key="env:TEST_NO_SUCH_KEY"),
        "empty-key": custom(f"{odd.url}/good/v1", api_key="env:TEST_EMPTY_KEY"),
        "newline-key": custom(f"{odd.url}/good/v1", api_key="env:TEST_NEWLINE_KEY"),
        **{
            f"file-{name}": custom(f"{odd.url}/good/v1", api_key=f"file:{key_files / name}")
            for name in ("good", "readable", "empty", "two-lines", "missing")
        },
        "x-api-key": custom(f"{odd.url}/good/v1", auth_header="x-api-key"),
        "short-key": custom(f"{odd.url}/good/v1", api_key="env:TEST_SHORT_KEY"),
        **{
            f"keyless-{source}": {"source": source, "api_key": "env:TEST_NO_SUCH_KEY"}
            for source in get_args(Source)
            if source != "custom"
        },
        "pasted-url": custom(f"{odd.url}/good/v1/chat/completions"),
        "slash-url": custom(f"{odd.url}/good/v1/"),
        "keyless": custom(f"{odd.url}/good/v1", api_key=None),
    }  # fmt: skip
    with SourceInstallation(
        tmp_path_factory.mktemp("sources"),
        others=others,
        environ={
            "TEST_ODD_KEY": ODD_KEY,
            "TEST_SHORT_KEY": "sk-short",
            "TEST_EMPTY_KEY": "",
            "TEST_NEWLINE_KEY": f"{ODD_KEY}\r\nx-injected: 1",
        },
        bounds={"answer_bytes": "8MiB"},
        log={"format": "json", "level": "debug"},
    ) as installation:
        installation.start_worker()
        yield installation
