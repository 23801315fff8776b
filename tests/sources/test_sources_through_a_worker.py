"""Every source through a real worker, against the provider's own dialect: one suite for all of them."""

from __future__ import annotations

import base64
from typing import Any

import orjson
import pytest
from installation import WAIT_S
from source_installation import DIALECT_NAMES, SourceInstallation, canary_of

from chatq import JobRecord
from chatq.contract.record import Result
from chatq_sandbox.answers import digest_of
from chatq_sandbox.dialects.registry import DIALECTS

WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
PNG = base64.b64encode(
    bytes.fromhex(
        "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c49444154789c6360000000"
        "0200014898a6720000000049454e44ae426082"
    )
).decode()

each_source = pytest.mark.parametrize("source", DIALECT_NAMES)


def run(sources: SourceInstallation, source: str, text: str, **keys: Any) -> JobRecord:
    """Enqueue on a source; the final record. `text` is the prompt unless messages are given."""
    if "messages" in keys:
        job = sources.queue.enqueue(source, **keys)
    else:
        job = sources.queue.enqueue(source, text, **keys)
    return sources.queue.wait(job.id, WAIT_S)


def result_of(record: JobRecord) -> Result:
    """The result of a record that succeeded."""
    assert record.state == "succeeded", record.error
    assert record.result is not None
    return record.result


def sent(sources: SourceInstallation, job: str) -> Any:
    """The body of the last request that was sent for a job."""
    return sources.simulator.control("GET", f"requests?job={job}")[-1]["body"]


@each_source
def test_a_text_is_answered_with_the_answer_that_belongs_to_it(
    sources: SourceInstallation, source: str
) -> None:
    prompt = f"job:{source}-text Say hi"
    result = result_of(run(sources, source, prompt))
    assert result.text.startswith(f"answer to job:{source}-text digest:{digest_of([('user', prompt)])} call:1")
    assert result.finish_reason == "stop"
    assert result.response["object"] == "chat.completion"
    assert result.response["choices"][0]["message"]["content"] == result.text


@each_source
def test_the_tokens_are_those_that_the_provider_counted(sources: SourceInstallation, source: str) -> None:
    usage = result_of(run(sources, source, f"job:{source}-usage [sim: tokens 40; reasoning 0]")).usage
    counted = sources.simulator.counts(f"{source}-usage")
    assert usage.prompt_tokens == counted["prompt_tokens"] > 0
    assert usage.completion_tokens == counted["completion_tokens"] == 40
    assert usage.total_tokens == usage.prompt_tokens + 40


@each_source
def test_the_systems_words_reach_the_model_before_the_users(sources: SourceInstallation, source: str) -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": f"job:{source}-system Say hi"},
    ]
    result = result_of(run(sources, source, "", messages=messages))
    seen = digest_of([("system", "Be brief."), ("user", f"job:{source}-system Say hi")])
    assert f"digest:{seen} " in result.text


@each_source
def test_an_answer_that_was_cut_says_so(sources: SourceInstallation, source: str) -> None:
    record = run(sources, source, f"job:{source}-cut [sim: finish length]")
    assert result_of(record).finish_reason == "length"
