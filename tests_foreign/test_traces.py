"""A job is one trace over all processes: its caller's, the front's, a worker's, as a collector gets it."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from celery import Celery

from front_process import FrontProcess, batch_lines
from installation import OPENAI_KEY, WAIT_S, WRONG_KEY, Installation, until
from trace_collector import Span, TraceCollector

CALLERS_TRACE, CALLERS_SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PROMPT, ANSWER, WORDS = "canary-prompt-51cc7d20", "canary-answer-93be08f1", "canary-words-0d64e9ba"
TEAM, TOKEN = "canary-team-7be1f502", "canary-token-2c98d6a7"


@pytest.fixture(scope="module")
def collector() -> Iterator[TraceCollector]:
    with TraceCollector() as made:
        yield made


@pytest.fixture(scope="module")
def traced(
    collector: TraceCollector, otel_packages: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installation]:
    """A worker that tells of its jobs."""
    with Installation(
        tmp_path_factory.mktemp("traced"),
        http={"port": 0},
        connections={
            "refused": {
                "source": "openai",
                "url": "simulator",
                "model": "gpt-5-mini",
                "api_key": "env:TEST_WRONG_KEY",
            },
            "team": {
                "source": "custom",
                "url": "simulator",
                "model": "demo",
                "include_headers": {"X-Team": TEAM},
            },
        },
        environ={**collector.environ, "PYTHONPATH": str(otel_packages), "TEST_WRONG_KEY": WRONG_KEY},
        log={"format": "json", "level": "debug"},
    ) as made:
        made.start_worker(fresh=True)
        yield made


@pytest.fixture(scope="module")
def front(traced: Installation) -> Iterator[FrontProcess]:
    with FrontProcess(traced, fresh=True) as process:
        yield process


def by_name(spans: list[Span]) -> dict[str, Span]:
    """Spans by their names, of which each is there once."""
    named = {span.name: span for span in spans}
    assert len(named) == len(spans)
    return named


def test_a_job_of_the_front_is_one_trace_with_that_of_its_client(
    front: FrontProcess, collector: TraceCollector
) -> None:
    asked = front.client.post(
        "/v1/jobs",
        json={"connection": "openai", "prompt": f"job:traced {PROMPT} [sim: say {ANSWER}]"},
        headers={"traceparent": f"00-{CALLERS_TRACE}-{CALLERS_SPAN}-01"},
    )
    named = by_name(collector.about(asked.json()["id"], 6))
    enqueue, admit, attempt = named["enqueue"], named["admit"], named["attempt"]
    begin, call, settle = named["begin"], named["chat gpt-5-mini"], named["settle"]
    assert {span.trace_id for span in named.values()} == {CALLERS_TRACE}
    assert enqueue.parent_id == CALLERS_SPAN
    assert [span.parent_id for span in (admit, attempt)] == [enqueue.span_id] * 2
    assert [span.parent_id for span in (begin, call, settle)] == [attempt.span_id] * 3
    assert (enqueue.service, enqueue.kind) == ("chatq-front", "producer")
    assert (attempt.service, attempt.kind) == ("chatq-worker", "consumer")
    assert call.kind == "client"
    # Of one clock each: the ledger's, and the worker's.
    assert admit.start_ns <= admit.end_ns == begin.start_ns == attempt.start_ns <= begin.end_ns
    assert call.start_ns <= call.end_ns <= settle.start_ns <= settle.end_ns <= attempt.end_ns


def test_the_call_is_told_in_the_words_for_generative_ai(
    front: FrontProcess, collector: TraceCollector
) -> None:
    made = front.client.post("/v1/jobs", json={"connection": "openai", "prompt": "job:traced-words Say hi"})
    job_id = made.json()["id"]
    record = front.client.get(f"/v1/jobs/{job_id}", params={"wait": WAIT_S}).json()
    call = by_name(collector.about(job_id, 6))["chat gpt-5-mini"]
    about = {
        name: value
        for name, value in call.attributes.items()
        if name not in ("server.port", "messaging.message.id")
    }
    assert about == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.system": "openai",
        "gen_ai.request.model": "gpt-5-mini",
        "gen_ai.response.model": record["result"]["model"],
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.usage.input_tokens": record["result"]["usage"]["prompt_tokens"],
        "gen_ai.usage.output_tokens": record["result"]["usage"]["completion_tokens"],
        "server.address": "127.0.0.1",
        "http.response.status_code": 200,
        "chatq.job.id": job_id,
        "chatq.connection": "openai",
        "chatq.attempt": 1,
    }


def test_each_attempt_is_a_part_of_the_same_trace(front: FrontProcess, collector: TraceCollector) -> None:
    prompt = "job:traced-retry Say hi [sim: server_error 500 first 1]"
    made = front.client.post("/v1/jobs", json={"connection": "sim", "prompt": prompt})
    spans = collector.about(made.json()["id"], 11)
    assert len({span.trace_id for span in spans}) == 1
    first, second = (span for span in spans if span.name == "attempt")
    assert (first.attributes["chatq.attempt"], first.attributes["chatq.state"]) == (1, "retrying")
    assert (first.is_error, first.attributes["error.type"]) == (True, "server_error")
    assert (second.attributes["chatq.attempt"], second.attributes["chatq.state"]) == (2, "succeeded")
    assert not second.is_error
    waited = [span for span in spans if span.name == "admit"]
    assert first.end_ns // 1_000_000 <= waited[1].start_ns // 1_000_000 + 5
    assert waited[1].end_ns == second.start_ns


def test_the_jobs_of_a_batch_are_a_trace_each(front: FrontProcess, collector: TraceCollector) -> None:
    uploaded = front.upload(batch_lines("job:traced-1 Say hi", "job:traced-2 Say hi")).json()["id"]
    batch = front.batch(uploaded).json()["id"]
    front.ended(batch)

    def enqueued() -> list[Span]:
        spans = [span for span in collector.spans if span.attributes.get("chatq.batch.id") == batch]
        return [span for span in spans if span.name == "enqueue"]

    until(lambda: len(enqueued()) == 2, "the jobs of the batch")
    assert {span.service for span in enqueued()} == {"chatq-keeper"}
    assert len({span.trace_id for span in enqueued()}) == 2
    for span in enqueued():
        assert len(by_name(collector.about(span.attributes["chatq.job.id"], 6))) == 6


PROGRAM = """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from chatq import ChatQueue

provider = TracerProvider(resource=Resource.create({"service.name": "shop"}))
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
trace.set_tracer_provider(provider)
with trace.get_tracer("shop").start_as_current_span("order") as span, ChatQueue() as queue:
    record = queue.wait(queue.enqueue("sim", "job:traced-python Say hi").id, 30)
    print(record.id, format(span.get_span_context().trace_id, "032x"))
"""


def run_program(
    traced: Installation, program: str, *arguments: str, quiet: bool = True, **environ: str
) -> str:
    """What a Python program writes."""
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env={**traced.environ, "CHATQ_CONFIG": str(traced.config), **environ},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stderr == "" or not quiet
    return done.stdout.strip()


def test_a_program_with_traces_of_its_own_finds_its_jobs_in_them(
    traced: Installation, collector: TraceCollector
) -> None:
    job_id, trace_id = run_program(traced, PROGRAM).split()
    named = by_name(collector.about(job_id, 6))
    assert {span.trace_id for span in named.values()} == {trace_id}
    assert (named["enqueue"].service, named["attempt"].service) == ("shop", "chatq-worker")
    [order] = [span for span in collector.spans if span.name == "order"]
    assert named["enqueue"].parent_id == order.span_id


def test_the_command_tells_of_its_job_before_it_ends(traced: Installation, collector: TraceCollector) -> None:
    said = run_program(
        traced,
        "import sys; from chatq.cli import main; sys.exit(main())",
        "submit",
        "sim",
        "job:traced-command Say hi",
    )
    assert by_name(collector.about(said, 6))["enqueue"].service == "chatq"


def submit(traced: Installation, prompt: str, task_id: str, headers: dict[str, str]) -> None:
    """As a Celery client sends it that knows nothing of us."""
    app = Celery(broker=traced.url.replace("unix://", "redis+socket://"), set_as_current=False)
    job = {"connection": "sim", "prompt": prompt}
    app.send_task("chatq.submit", [job], task_id=task_id, queue="chatq", headers=headers)
    app.close()


def test_a_job_of_a_celery_client_goes_on_with_the_trace_in_its_messages_headers(
    traced: Installation, collector: TraceCollector
) -> None:
    submit(
        traced,
        "job:traced-task Say hi",
        "traced-task",
        {"traceparent": f"00-{CALLERS_TRACE}-{CALLERS_SPAN}-01"},
    )
    named = by_name(collector.about("traced-task", 6))
    assert {span.trace_id for span in named.values()} == {CALLERS_TRACE}
    assert (named["enqueue"].parent_id, named["enqueue"].service) == (CALLERS_SPAN, "chatq-worker")


def test_a_job_of_a_celery_client_without_a_trace_begins_one(
    traced: Installation, collector: TraceCollector
) -> None:
    submit(traced, "job:traced-new-task Say hi", "traced-new-task", {})
    spans = collector.about("traced-new-task", 6)
    assert len({span.trace_id for span in spans}) == 1
    assert CALLERS_TRACE not in {span.trace_id for span in spans}


def test_a_job_that_the_sampler_leaves_out_is_told_by_nobody(
    traced: Installation, front: FrontProcess, collector: TraceCollector
) -> None:
    def enqueue(flags: str) -> str:
        made = front.client.post(
            "/v1/jobs",
            json={"connection": "sim", "prompt": "job:traced-not Say hi"},
            headers={"traceparent": f"00-{CALLERS_TRACE}-{CALLERS_SPAN}-{flags}"},
        )
        return str(made.json()["id"])

    silent = enqueue("00")
    traced.queue.wait(silent, WAIT_S)
    collector.about(enqueue("01"), 6)
    assert [span for span in collector.spans if span.attributes.get("chatq.job.id") == silent] == []


def test_a_job_that_was_enqueued_without_a_trace_is_told_by_nobody(
    traced: Installation, front: FrontProcess, collector: TraceCollector
) -> None:
    job = traced.run("sim", "job:traced-never Say hi")
    later = front.client.post("/v1/jobs", json={"connection": "sim", "prompt": "job:traced-later Say hi"})
    collector.about(later.json()["id"], 6)
    assert [span for span in collector.spans if span.attributes.get("chatq.job.id") == job.id] == []


def test_neither_prompt_nor_answer_nor_key_is_in_a_trace(
    traced: Installation, collector: TraceCollector
) -> None:
    """Nor a header of a connection's own, the provider's words, a token of the front's, or a part of any of them."""
    asked = {
        "openai": f"job:traced-secret {PROMPT} [sim: say {ANSWER}]",
        "refused": f"job:traced-refused {PROMPT}",
        "team": f"job:traced-words {PROMPT} [sim: {WORDS}]",
    }
    with FrontProcess(traced, environ={"CHATQ_HTTP_TOKENS": TOKEN}, fresh=True) as front:
        front.client.headers["authorization"] = f"Bearer {TOKEN}"
        jobs = {
            name: front.client.post("/v1/jobs", json={"connection": name, "prompt": prompt}).json()["id"]
            for name, prompt in asked.items()
        }
        words = front.client.get(f"/v1/jobs/{jobs['team']}", params={"wait": WAIT_S}).text
        assert WORDS in words.partition('"provider_message"')[2], "the provider quotes them"
        for job_id in jobs.values():
            collector.about(job_id, 6)
    everything = b"".join(collector.bodies)
    assert all(job_id.encode() in everything for job_id in jobs.values())
    for secret in (PROMPT, ANSWER, WORDS, TEAM, TOKEN, OPENAI_KEY, WRONG_KEY):
        for start in range(3, len(secret) - 7, 4):
            assert secret[start : start + 8].encode() not in everything


def test_without_a_place_to_send_them_nothing_of_opentelemetry_is_loaded(
    traced: Installation, otel_packages: Path
) -> None:
    program = """
import sys
from chatq import ChatQueue
import chatq.http.application, chatq_worker.service
with ChatQueue() as queue:
    queue.wait(queue.enqueue("sim", "job:traced-off Say hi").id, 30)
# The clients of Redis and HTTP load a part of its interface, where that is installed.
print([name for name in sys.modules if name.startswith(("opentelemetry.exporter", "opentelemetry.sdk.trace"))])
"""
    assert run_program(traced, program, OTEL_EXPORTER_OTLP_ENDPOINT="") == "[]"
    assert run_program(traced, program, OTEL_SDK_DISABLED="true") == "[]"


def test_a_worker_whose_collector_is_away_works_and_ends_as_ever(
    otel_packages: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environ = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
        "PYTHONPATH": str(otel_packages),
        "OTEL_BSP_SCHEDULE_DELAY": "100",
    }
    with Installation(tmp_path_factory.mktemp("away"), environ=environ) as made:
        worker = made.start_worker(fresh=True)
        worker.expect("opentelemetry")
        program = (
            "from chatq import ChatQueue\nwith ChatQueue() as queue: print(queue.enqueue('sim', 'Say hi').id)"
        )
        job_id = run_program(made, program, quiet=False)
        assert made.queue.wait(job_id, WAIT_S).state == "succeeded"
        until(lambda: any("opentelemetry" in line for line in worker.log.splitlines()), "a word about it")
        asked_s = time.monotonic()
        worker.ask_to_end()
        assert worker.wait() == 0
        assert time.monotonic() - asked_s < 15
