"""How a front starts and ends."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import httpx
import pytest
from front_process import FrontProcess, batch_lines, error_of
from installation import WAIT_S, Installation, until

from forked import run


def serve(installation: Installation, *arguments: str, **environ: str) -> tuple[int, str]:
    """Exit code, and what it said, of a front that does not start."""
    done = run(
        "chatq.http",
        "serve",
        "--config",
        str(installation.config),
        *arguments,
        folder=installation.folder,
        environ={**installation.environ, **environ},
    )
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


def test_it_is_on_another_address_only_with_tokens(installed: Installation) -> None:
    code, said = serve(installed, "--host", "0.0.0.0")
    assert code == 2
    assert "without tokens it listens on this machine alone, not on 0.0.0.0" in said


def test_a_port_that_is_taken_is_told_so(installed: Installation, front: FrontProcess) -> None:
    port = front.url.rpartition(":")[2]
    code, said = serve(installed, "--port", port)
    assert code == 1
    assert said == (
        f"chatq serve: The HTTP front cannot listen on 127.0.0.1, port {port}: Address already in use.\n"
        "Stop what listens there (another `chatq up` or `chatq serve`?), or choose another port: http.port in "
        f"config.yaml, CHATQ_HTTP__PORT={int(port) + 1}, or chatq serve --port {int(port) + 1}.\n"
    )


def test_a_server_that_is_down_is_told_so(installed: Installation) -> None:
    code, said = serve(installed, CHATQ_REDIS__URL="redis://127.0.0.1:1")
    assert code == 1
    assert "127.0.0.1:1" in said


def test_a_folder_that_cannot_be_written_is_told_so(installed: Installation, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    code, said = serve(installed, CHATQ_HTTP__FOLDER=str(tmp_path / "file" / "x"))
    assert code == 2
    assert "http.folder" in said


@pytest.mark.thorough
def test_who_waits_is_sent_away_when_it_ends_and_finds_the_job_again(installed: Installation) -> None:
    headers = {"idempotency-key": "through-a-restart"}
    answers: list[httpx.Response] = []
    installed.hold_answers()
    try:
        with FrontProcess(installed) as first:
            before = installed.simulator.counts()["total"]["in_flight"]
            asked = threading.Thread(target=lambda: answers.append(first.ask("job:v1 hi", headers=headers)))
            asked.start()
            installed.await_in_flight(before + 1)
            assert first.stop() == 0
            asked.join(WAIT_S)
        assert error_of(answers[0]) == (503, "shutting_down")
        assert answers[0].headers["retry-after"] == "2"
        assert "under its Idempotency-Key: the job goes on" in answers[0].text
    finally:
        installed.release_answers()
    with FrontProcess(installed) as second:
        assert second.ask("job:v1 hi", headers=headers).status_code == 200
    assert installed.calls()["v1"] == 1


@pytest.mark.thorough
def test_a_job_whose_client_cannot_come_back_is_cancelled_when_it_ends(installed: Installation) -> None:
    answers: list[httpx.Response] = []
    installed.hold_answers()
    try:
        with FrontProcess(installed) as front:
            before = installed.simulator.counts()["total"]["in_flight"]
            asked = threading.Thread(
                target=lambda: answers.append(front.ask("job:v2 hi", chatq={"id": "keyless"}))
            )
            asked.start()
            installed.await_in_flight(before + 1)
            assert front.stop() == 0
            asked.join(WAIT_S)
    finally:
        installed.release_answers()
    assert error_of(answers[0]) == (503, "shutting_down")
    assert "the job was cancelled" in answers[0].text
    assert installed.queue.wait("keyless", WAIT_S).state == "cancelled"


def test_it_is_not_ready_without_a_worker(tmp_path: Path) -> None:
    with Installation(tmp_path, http={"port": 0}) as alone, FrontProcess(alone) as front:
        answer = front.client.get("/readyz")
        assert answer.status_code == 503
        assert answer.json()["hindrances"][0]["message"] == "No worker is alive."
        assert error_of(front.client.post("/v1/connections/sim/check")) == (503, "no_worker")
        alone.start_worker()
        until(lambda: front.client.get("/readyz").status_code == 200, "it to be ready")


@pytest.mark.thorough
def test_a_connection_that_is_new_in_the_config_is_taken_up(tmp_path: Path) -> None:
    with Installation(tmp_path, http={"port": 0}) as alone:
        alone.start_worker()
        with FrontProcess(alone) as front:
            assert error_of(front.ask("hi", model="new")) == (404, "unknown_connection")
            config = json.loads(alone.config.read_text())
            config["connections"]["new"] = config["connections"]["sim"]
            alone.config.write_text(json.dumps(config))
            until(lambda: front.ask("job:new hi", model="new").status_code == 200, "it to be taken up")
            lines = batch_lines("job:new hi").replace(b'"sim"', b'"new"')
            batch = front.ended(front.batch(front.upload(lines).json()["id"]).json()["id"])
            assert batch["request_counts"]["completed"] == 1


def test_more_than_may_wait_are_sent_away(installed: Installation) -> None:
    job = {"connection": "sim", "prompt": "hi", "not_before": 3600}
    with FrontProcess(installed, environ={"CHATQ_HTTP__WAITING": "1"}) as front:
        made = front.client.post("/v1/jobs", json=job).json()["id"]
        path = f"/v1/jobs/{made}"

        def wait_once_there_is_room() -> None:
            while front.client.get(path, params={"wait": 20}).status_code == 503:
                pass

        waits = threading.Thread(target=wait_once_there_is_room)
        waits.start()
        refused = until(
            lambda: (answer := front.client.get(path, params={"wait": 0.01})).status_code == 503 and answer,
            "the other to wait",
        )
        assert error_of(refused) == (503, "overloaded")
        assert refused.headers["retry-after"] == "2"
        front.client.delete(path)
        waits.join(WAIT_S)


def test_the_document_names_every_path(front: FrontProcess) -> None:
    document = front.client.get("/openapi.json").json()
    assert document["openapi"].startswith("3.")
    assert set(document["paths"]) == {
        "/healthz", "/metrics", "/readyz", "/v1/batches", "/v1/batches/{batch_id}", "/v1/batches/{batch_id}/cancel",
        "/v1/batches/{batch_id}/pause", "/v1/batches/{batch_id}/resume", "/v1/batches/{batch_id}/retry",
        "/v1/chat/completions", "/v1/connections", "/v1/connections/{connection_id}/check",
        "/v1/connections/{connection_id}/test", "/v1/files", "/v1/files/{file_id}", "/v1/files/{file_id}/content",
        "/v1/jobs", "/v1/jobs/{job_id}", "/v1/models", "/v1/models/{model_id}", "/v1/status",
    }  # fmt: skip
    assert "Job" in document["components"]["schemas"]
