"""Whatever stands in a file of jobs: a line for each job, a request or an error, and nothing else."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatq.contract.errors import InvalidJob
from chatq.contract.settings import Settings
from chatq_worker.render import run_render

pytestmark = pytest.mark.fuzz

SETTINGS = Settings.model_validate(
    {
        "connections": {
            "own": {"source": "custom", "url": "http://127.0.0.1:5000/v1", "model": "m"},
            "claude": {"source": "claude", "model": "claude-haiku-4-5", "post_processing": "semi_tools"},
            "cohere": {"source": "cohere", "post_processing": "strict"},
            "openai": {"source": "openai", "model": "gpt-5-mini", "api_key": "env:NOT_SET"},
        }
    }
)
contents = st.sampled_from(["Hi", "", [{"type": "text", "text": "Hi"}], None, 7, [None], {"type": "text"}])
messages = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["system", "user", "assistant", "tool", "narrator", None])},
        optional={"content": contents, "name": st.text(max_size=3), "tool_calls": contents},
    ),
    max_size=4,
)
jobs = st.fixed_dictionaries(
    {},
    optional={
        "connection": st.sampled_from(["own", "claude", "cohere", "openai", "nobody", ""]),
        "prompt": st.text(max_size=5),
        "messages": messages,
        "post_processing": st.sampled_from(["none", "merge", "single", "semi", "stricter"]),
        "names": st.dictionaries(st.sampled_from(["char", "user", "group"]), st.text(max_size=3), max_size=2),
        "params": st.dictionaries(st.sampled_from(["max_tokens", "stop", "n"]), contents, max_size=2),
        "unheard_of": contents,
    },
)
lines = (
    jobs.map(orjson.dumps)
    | st.binary(max_size=12)
    | st.sampled_from(
        [b"", b" ", b"{}", b"[]", b"null", b"{", b"[" * 5000, b'{"prompt": NaN}', b'{"prompt": "\\ud800"}', b"1e999",
         b'{"prompt": "a", "prompt": "b"}',
         b'{"prompt": "a\xc2\x85b"}', b"\xef\xbb\xbf{}", b"\xff", b"\r", b"\x00", b"9" * 5000]
    )
)  # fmt: skip


def rendered(data: bytes, path: Path) -> tuple[int, list[Any]]:
    path.write_bytes(data)
    written = io.StringIO()
    with contextlib.redirect_stdout(written):
        code = run_render(SETTINGS, connection="own", file=path, as_json=True)
    # A line ends with \n alone: str.splitlines would end one at U+0085 within a text too.
    return code, [json.loads(line) for line in written.getvalue().split("\n")[:-1]]


@given(data=st.lists(lines, min_size=1, max_size=4).map(b"\n".join))
def test_any_lines_are_requests_or_errors(data: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "jobs.jsonl"
    try:
        code, shown = rendered(data, path)
    except InvalidJob as error:
        assert "not UTF-8" in error.message  # noqa: PT017 - the point is that nothing else is raised
        return
    assert code == (1 if any("error" in item for item in shown) else 0)
    for item in shown:
        assert item.keys() in (
            {"error"},
            {"method", "url", "headers", "body", "messages", "warnings"},
        )
        if "error" in item:
            assert item["error"]["message"]
            assert item["error"]["remedy"]
