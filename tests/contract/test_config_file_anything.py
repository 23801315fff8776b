"""Whatever stands in the file or the environment: settings, or a `ConfigError` that can be printed."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from chatq.contract.config_environment import apply_environment
from chatq.contract.config_file import load_settings
from chatq.contract.config_problems import ConfigError
from chatq.contract.config_yaml import Node, read_yaml
from chatq.contract.settings import Settings

pytestmark = pytest.mark.fuzz

GOOD: dict[str, Any] = {
    "promptPlaceholder": "[Begin]",
    "redis": {"url": "redis://localhost", "key_prefix": "team"},
    "worker": {"slots": 5, "lease": "10s"},
    "bounds": {"backlog": {"jobs": 10, "bytes": "1GiB"}},
    "results": {"keep": "2d"},
    "http": {"port": 8400, "allow_hosts": ["localhost"]},
    "log": {"level": "info"},
    "connections": {
        "main": {
            "source": "openai",
            "api_key": "env:KEY",
            "timeout": {"connect": "1s"},
            "limits": {"concurrency": 5},
            "retry": {"max_attempts": 2},
            "params": {"stop": ["a"]},
            "fallback": ["own"],
            "budget": {"per_day_usd": 2},
            "price": {"input_per_million": 1, "output_per_million": 2},
        },
        "own": {
            "source": "custom",
            "url": "http://127.0.0.1:5000/v1",
            "include_headers": {"X-Team": "a"},
            "include_body": {"a": {"b": 1}},
            "exclude_body": ["a.b"],
        },
    },
}

_pieces = st.sampled_from(
    ["connections", "worker", "slots", "main", "source", "custom", "url", "<<", "&a", "*a", "!!int", "!x",
     "---", "...", ":", ": ", "- ", "? ", "[", "]", "{", "}", ",", "\n", "\n  ", "\n    ", "\t", "#", "'",
     '"', "|", ">", "%YAML 1.1", "no", "~", "0123", "5:00", ".inf", "1e999", "env:KEY", "\\", "\\ud800",
     "\ufeff", "ä", "\0", "\x85", "\u2028"]
)  # fmt: skip
_odd = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | _pieces,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6) | _pieces, inner, max_size=3)
    ),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("anything")


def settings_or_config_error(data: bytes, folder: Path, environ: dict[str, str]) -> Settings | None:
    path = folder / "config.yaml"
    path.write_bytes(data)
    try:
        return load_settings(path, environ=environ)
    except ConfigError as error:
        assert error.problems  # noqa: PT017 - the point is that nothing else is raised
        assert len(str(error).splitlines()) == min(len(error.problems), 101)  # noqa: PT017
        return None


@given(text=st.lists(_pieces | st.text(max_size=4), max_size=40).map("".join))
def test_any_text_is_settings_or_a_config_error(text: str, folder: Path) -> None:
    settings_or_config_error(text.encode("utf-8", "surrogatepass"), folder, {})


@given(data=st.binary(max_size=60))
def test_any_bytes_are_settings_or_a_config_error(data: bytes, folder: Path) -> None:
    settings_or_config_error(data, folder, {})


@given(choices=st.data())
def test_any_change_of_good_settings_is_settings_or_a_config_error(
    choices: st.DataObject, folder: Path
) -> None:
    tree = copy.deepcopy(GOOD)
    for _ in range(choices.draw(st.integers(1, 4))):
        node: Any = tree
        while True:
            keys = st.sampled_from(sorted(node)) if node else st.nothing()
            key = choices.draw(keys | st.text(max_size=4))
            if isinstance(node.get(key), dict) and choices.draw(st.integers(0, 3)):
                node = node[key]
                continue
            node[key] = choices.draw(_odd)
            break
    text = yaml.safe_dump(tree, allow_unicode=choices.draw(st.booleans()))

    loaded = settings_or_config_error(text.encode("utf-8", "surrogatepass"), folder, {})

    if loaded is not None:
        assert Settings.from_public(loaded.public()).public() == loaded.public()


_names = st.sampled_from(
    ["WORKER__SLOTS", "REDIS_URL", "REDIS__URL", "HTTP_TOKENS", "HTTP__ALLOW_HOSTS", "LOG_LEVEL",
     "BOUNDS__BACKLOG__JOBS", "CONNECTIONS__MAIN__MODEL", "CONNECTIONS__MAIN__LIMITS__SCOPE",
     "CONNECTIONS__MAIN__PARAMS", "CONNECTIONS__MAIN__PARAMS__STOP", "CONNECTIONS__MAIN__BUDGET",
     "CONNECTIONS__OWN__URL", "CONNECTIONS__OWN__INCLUDE_HEADERS__X_Y"]
)  # fmt: skip
_variables = (_names | st.text(alphabet="ABC_-", max_size=8)).map("CHATQ_".__add__)


@given(environ=st.dictionaries(_variables, st.text(max_size=6) | _pieces, max_size=4))
def test_any_environment_is_settings_or_a_config_error(environ: dict[str, str], folder: Path) -> None:
    settings_or_config_error(yaml.safe_dump(GOOD).encode(), folder, environ)


@given(text=st.lists(_pieces, max_size=30).map("".join))
def test_the_parser_written_in_python_reads_the_same_as_the_one_written_in_c(text: str) -> None:
    """Where libyaml is missing, settings mean the same; only the words about syntax errors may differ."""
    with_c, c_problems = read_yaml(text.encode(), "f")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(yaml, "CSafeLoader", yaml.SafeLoader)
        without_c, python_problems = read_yaml(text.encode(), "f")

    if with_c is not None and without_c is not None:
        assert repr(with_c.plain()) == repr(without_c.plain())
        assert c_problems == python_problems


def test_the_environment_never_changes_what_an_alias_shares() -> None:
    root, _ = read_yaml(b"connections: {a: &a {source: openai}, b: *a}", "f")
    assert isinstance(root, Node)

    apply_environment(root, {"CHATQ_CONNECTIONS__B__MODEL": "x"}, connections_known=True)

    assert root.plain() == {
        "connections": {"a": {"source": "openai"}, "b": {"source": "openai", "model": "x"}}
    }
