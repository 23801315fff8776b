"""Every source through a real worker, against the provider's own dialect: one suite for all of them, and for those
that stream long answers also for their streams."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from installation import WAIT_S, until
from source_installation import NAMES, STREAMED, SourceInstallation, rows

from chatq import JobRecord
from chatq.contract.record import Result
from chatq_sandbox.answers import digest_of
from for_each import for_each

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

TEMPLATE_TOKENS = {"cohere": 70}
"""What a source counts in front of every prompt."""

NO_TOOLS = frozenset({"perplexity-sonar"})
IGNORES_TOOL_CHOICE = frozenset({"custom-ollama"})
KEEPS_ITS_THOUGHTS = frozenset({"openai", "cohere", "perplexity", "perplexity-sonar", "ai21"})
"""They tell nothing of what these models thought, if they thought."""
NO_JSON_MODE = frozenset({"custom-lmstudio"})
"""Knows schemas only."""
NO_WORD_FOR_A_CUT_ANSWER = frozenset({"perplexity"})
TELLS_LITTLE = frozenset({"custom-bare"})
"""Answers have neither usage nor a reason to end."""
ANY_MODEL_WILL_DO = frozenset({"custom-tabbyapi", "custom-oobabooga", "custom-llamacpp"})
"""They answer with the model that is loaded, whichever a request names."""
LONGEST_BAN_S = {"electronhub": 180}
"""Refuses everything for so long after a 429, whatever it says."""

EVERY: tuple[str, ...] = (*NAMES, *STREAMED)

each_source = for_each("source", rows(EVERY))


def each_source_but(*left_out: frozenset[str]) -> Callable[[Callable[..., None]], Any]:
    """Every source that is in none of the sets."""
    return for_each("source", rows(name for name in EVERY if not any(name in out for out in left_out)))


def run(sources: SourceInstallation, source: str, text: str, **keys: Any) -> JobRecord:
    """Enqueue on a source; the final record. `text` is the prompt unless messages are given."""
    job = sources.queue.enqueue(source, text or None, **keys)
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
    assert result.text.startswith(
        f"answer to job:{source}-text digest:{digest_of([('user', prompt)])} call:1"
    )
    assert result.finish_reason == "stop"
    assert result.response["object"] == "chat.completion"
    assert result.response["choices"][0]["message"]["content"] == result.text


@each_source_but(TELLS_LITTLE)
def test_the_tokens_are_those_that_the_provider_counted(sources: SourceInstallation, source: str) -> None:
    usage = result_of(run(sources, source, f"job:{source}-usage [sim: tokens 40; reasoning 0]")).usage
    counted = sources.simulator.counts(f"{source}-usage")
    assert usage.prompt_tokens == counted["prompt_tokens"] + TEMPLATE_TOKENS.get(source, 0) > 0
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


@each_source_but(NO_WORD_FOR_A_CUT_ANSWER, TELLS_LITTLE)
def test_an_answer_that_was_cut_says_so(sources: SourceInstallation, source: str) -> None:
    result = result_of(run(sources, source, f"job:{source}-cut [sim: finish length]"))
    assert result.finish_reason == "length"


@each_source_but(NO_TOOLS)
def test_the_model_calls_a_tool_that_is_offered(sources: SourceInstallation, source: str) -> None:
    result = result_of(
        run(
            sources,
            source,
            f"job:{source}-tool [sim: call_tool weather]",
            tools=[WEATHER],
            tool_choice="auto",
        )
    )
    assert result.finish_reason == "tool_calls"
    assert result.tool_calls is not None
    [call] = result.tool_calls
    assert (call["type"], call["function"]["name"]) == ("function", "weather")
    assert list(json.loads(call["function"]["arguments"])) == ["city"]
    assert result.response["choices"][0]["message"]["tool_calls"] == result.tool_calls


@each_source_but(NO_TOOLS)
def test_a_tools_result_goes_back_to_the_model_that_called_it(
    sources: SourceInstallation, source: str
) -> None:
    question = {"role": "user", "content": f"job:{source}-result [sim: call_tool weather]"}
    first = result_of(run(sources, source, "", messages=[question], tools=[WEATHER]))
    assert first.tool_calls is not None
    messages = [
        question,
        first.response["choices"][0]["message"],
        {"role": "tool", "tool_call_id": first.tool_calls[0]["id"], "content": "12 degrees in the rain"},
    ]
    second = result_of(run(sources, source, "", messages=messages, tools=[WEATHER]))
    assert second.text.startswith(f"answer to job:{source}-result ")
    assert second.finish_reason == "stop"
    assert "12 degrees in the rain" in json.dumps(sent(sources, f"{source}-result"))


@each_source_but(NO_TOOLS, IGNORES_TOOL_CHOICE)
@pytest.mark.parametrize(
    ("choice", "calls"),
    [
        ("none", []),
        ("auto", []),
        ("required", ["weather"]),
        ({"type": "function", "function": {"name": "clock"}}, ["clock"]),
    ],
    ids=["none", "auto", "required", "named"],
)
def test_whether_a_tool_is_called_is_as_the_job_says(
    sources: SourceInstallation, source: str, choice: Any, calls: list[str]
) -> None:
    clock = {"type": "function", "function": {"name": "clock", "parameters": {"type": "object"}}}
    record = run(sources, source, "Say hi", tools=[WEATHER, clock], tool_choice=choice)
    made = result_of(record).tool_calls or []
    assert [call["function"]["name"] for call in made] == calls


@each_source_but(KEEPS_ITS_THOUGHTS)
def test_what_the_model_thought_comes_back_apart_from_what_it_says(
    sources: SourceInstallation, source: str
) -> None:
    prompt = f"job:{source}-thoughts [sim: reasoning 12; say It rains.]"
    result = result_of(run(sources, source, prompt, params={"reasoning_effort": "high"}))
    assert result.text == "It rains."
    assert result.reasoning is not None
    assert result.reasoning.startswith("Rain taps the roof")
    assert result.response["choices"][0]["message"]["reasoning_content"] == result.reasoning


@each_source_but(NO_JSON_MODE)
def test_json_mode_gives_json_or_a_warning_says_that_it_was_asked_for_in_words(
    sources: SourceInstallation, source: str
) -> None:
    record = run(
        sources, source, f"job:{source}-json Answer in JSON.", response_format={"type": "json_object"}
    )
    text = result_of(record).text
    warned = any(warning.startswith("response_format json_object") for warning in record.warnings)
    assert warned != text.startswith("{")
    assert warned or isinstance(json.loads(text), dict)
    assert "JSON" in json.dumps(sent(sources, f"{source}-json"))


@each_source
def test_an_image_of_the_web_reaches_the_model_or_a_warning_names_it(
    sources: SourceInstallation, source: str
) -> None:
    url = "https://images.example/rain.png"
    parts = [
        {"type": "text", "text": f"job:{source}-web-image What is this?"},
        {"type": "image_url", "image_url": {"url": url}},
    ]
    record = run(sources, source, "", messages=[{"role": "user", "content": parts}])
    result_of(record)
    was_sent = url in json.dumps(sent(sources, f"{source}-web-image"))
    warned = any("image" in warning for warning in record.warnings)
    assert was_sent != warned


@each_source
def test_an_answer_in_a_json_schema_is_json(sources: SourceInstallation, source: str) -> None:
    schema = WEATHER["function"]["parameters"]
    result = result_of(
        run(
            sources,
            source,
            f"job:{source}-schema Answer in JSON.",
            response_format={"type": "json_schema", "json_schema": {"name": "weather", "schema": schema}},
        )
    )
    assert isinstance(json.loads(result.text), dict)


@each_source
def test_an_image_reaches_the_model_or_a_warning_names_it(sources: SourceInstallation, source: str) -> None:
    parts = [
        {"type": "text", "text": f"job:{source}-image What is this?"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
    ]
    record = run(sources, source, "", messages=[{"role": "user", "content": parts}])
    assert result_of(record).text.startswith(f"answer to job:{source}-image ")
    was_sent = PNG in json.dumps(sent(sources, f"{source}-image"))
    warned = any("image" in warning for warning in record.warnings)
    assert was_sent != warned


@each_source
def test_a_parameter_is_sent_or_a_warning_names_it(sources: SourceInstallation, source: str) -> None:
    params = {
        "stop": ["END"],
        "seed": 424242,
        "frequency_penalty": 0.25,
        "presence_penalty": 0.125,
        "max_tokens": 77,
    }
    record = run(sources, source, f"job:{source}-params Say hi", params=params)
    result_of(record)
    words = json.dumps(sent(sources, f"{source}-params"))
    for name, value in params.items():
        own_warnings = [warning for warning in record.warnings if warning.startswith(name)]
        was_sent = json.dumps(value) in words
        assert was_sent != bool(own_warnings), (name, words, record.warnings)


@pytest.fixture(scope="module")
def faulty(sources: SourceInstallation) -> dict[str, str]:
    """For each source the id of a job that meets a 429 and a 500. All at once: their pauses pass side by side."""
    prompt = "job:{}-faults [sim: rate_limit 0.05 first 1; server_error 500 first 2]"
    return {name: sources.queue.enqueue(f"cooling-{name}", prompt.format(name)).id for name in EVERY}


@pytest.mark.thorough
@each_source_but(frozenset(LONGEST_BAN_S))
def test_a_429_costs_no_attempt_and_a_500_costs_one(
    sources: SourceInstallation, faulty: dict[str, str], source: str
) -> None:
    record = sources.queue.wait(faulty[source], WAIT_S)
    assert result_of(record).text.startswith(f"answer to job:{source}-faults ")
    assert [(attempt.http_status, attempt.error_code, attempt.counted) for attempt in record.attempts] == [
        (429, "rate_limited", False),
        (500, "server_error", True),
        (200, None, True),
    ]


@pytest.mark.parametrize(("source", "ban_s"), LONGEST_BAN_S.items())
def test_a_source_that_bans_for_long_is_left_alone_for_as_long(
    sources: SourceInstallation, faulty: dict[str, str], source: str, ban_s: int
) -> None:
    [attempt] = until(lambda: sources.queue.get(faulty[source]).attempts, "the refusal")
    assert (attempt.http_status, attempt.counted) == (429, False)
    lanes = sources.redis.zrange("chatq:lanes", 0, -1, withscores=True)
    [due_ms] = [due_ms for lane, due_ms in lanes if f"@cooling-{source}" in lane]
    assert ban_s - 1 < due_ms / 1000 - attempt.ended_at.timestamp() < ban_s + 1
    assert sources.simulator.counts(f"{source}-faults")["received"] == 1
    sources.queue.cancel(faulty[source])


@each_source
def test_a_refusal_of_the_model_is_a_success_that_says_so(sources: SourceInstallation, source: str) -> None:
    result = result_of(run(sources, source, f"job:{source}-refusal [sim: finish refusal]"))
    message = result.response["choices"][0]["message"]
    assert result.text or message.get("refusal") or result.finish_reason == "content_filter"


@each_source_but(ANY_MODEL_WILL_DO)
def test_a_model_that_does_not_exist_fails_the_job_in_the_providers_words(
    sources: SourceInstallation, source: str
) -> None:
    record = run(sources, source, f"job:{source}-model Say hi", model="no-such-model")
    assert record.state == "failed"
    assert record.error is not None
    assert (record.error.code, record.error.retryable) == ("model_not_found", False)
    assert "model" in (record.error.provider_message or "").lower()
