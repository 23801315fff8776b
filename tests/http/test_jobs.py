"""`/v1/jobs`: our own jobs over HTTP."""

from __future__ import annotations

from front_process import FrontProcess, error_of


def test_a_job_is_enqueued_and_waited_for(front: FrontProcess) -> None:
    made = front.client.post("/v1/jobs", json={"connection": "sim", "prompt": "job:j1 hi", "priority": 9})
    assert made.status_code == 202
    assert made.headers["location"] == f"/v1/jobs/{made.json()['id']}"
    record = front.client.get(made.headers["location"], params={"wait": 30}).json()
    assert (record["state"], record["connection"]) == ("succeeded", "sim")
    assert "answer to job:j1 " in record["result"]["text"]


def test_a_wait_that_is_over_answers_the_record_as_it_is(front: FrontProcess) -> None:
    job = {"connection": "sim", "prompt": "hi", "not_before": 3600}
    made = front.client.post("/v1/jobs", json=job).json()
    record = front.client.get(f"/v1/jobs/{made['id']}", params={"wait": 0.1})
    assert (record.status_code, record.json()["state"]) == (200, "queued")
    cancelled = front.client.delete(f"/v1/jobs/{made['id']}")
    assert (cancelled.status_code, cancelled.json()["state"]) == (200, "cancelled")


def test_a_final_job_is_deleted(front: FrontProcess) -> None:
    made = front.client.post("/v1/jobs", json={"connection": "sim", "prompt": "job:j2 hi"}).json()
    front.client.get(f"/v1/jobs/{made['id']}", params={"wait": 30})
    assert front.client.delete(f"/v1/jobs/{made['id']}").status_code == 204
    assert error_of(front.client.get(f"/v1/jobs/{made['id']}")) == (404, "unknown_job")
    assert error_of(front.client.delete(f"/v1/jobs/{made['id']}")) == (404, "unknown_job")


def test_the_same_job_under_its_id_is_the_same(front: FrontProcess) -> None:
    job = {"connection": "sim", "prompt": "job:j3 hi", "id": "job-three"}
    assert front.client.post("/v1/jobs", json=job).status_code == 202
    front.client.get("/v1/jobs/job-three", params={"wait": 30})
    again = front.client.post("/v1/jobs", json=job)
    assert (again.status_code, again.json()["state"]) == (200, "succeeded")
    assert error_of(front.client.post("/v1/jobs", json={**job, "prompt": "other"})) == (409, "conflict")


def test_a_wrong_job_is_told_field_by_field(front: FrontProcess) -> None:
    answer = front.client.post("/v1/jobs", json={"connection": "sim", "promt": "hi"})
    assert error_of(answer) == (400, "invalid_job")
    assert 'unknown key "promt" (did you mean "prompt"?)' in answer.json()["error"]["message"]


def test_a_job_that_is_too_large_is_refused(front: FrontProcess) -> None:
    answer = front.client.post("/v1/jobs", json={"connection": "sim", "prompt": "x" * 300_000})
    assert error_of(answer) == (413, "job_too_large")


def test_wrong_parameters_and_paths_are_told_in_the_same_shape(front: FrontProcess) -> None:
    for wait in ("-1", "abc", "nan", "601", "inf"):
        assert error_of(front.client.get(f"/v1/jobs/x?wait={wait}")) == (400, "invalid_request")
    assert error_of(front.client.get("/v1/nothing")) == (404, "not_found")
    for path, allowed in (("/v1/jobs", "POST"), ("/v1/jobs/x", "DELETE, GET"), ("/v1/files", "GET, POST")):
        answer = front.client.put(path, json={})
        assert error_of(answer) == (405, "invalid_request")
        assert answer.headers["allow"] == allowed


def test_connections_are_listed_checked_and_tried(front: FrontProcess) -> None:
    listed = front.client.get("/v1/connections").json()["data"]
    assert {"sim", "once", "openai"} == {connection["id"] for connection in listed}
    assert front.client.post("/v1/connections/sim/check").json()["state"] == "ok"
    assert front.client.post("/v1/connections/sim/test").json()["state"] == "succeeded"
    assert error_of(front.client.post("/v1/connections/sum/check")) == (404, "unknown_connection")


def test_models_are_connections_and_what_their_check_found(front: FrontProcess) -> None:
    front.client.post("/v1/connections/sim/check")
    models = {model["id"]: model for model in front.client.get("/v1/models").json()["data"]}
    assert models["sim"]["owned_by"] == "custom"
    assert models["sim/demo"]["object"] == "model"
    assert front.client.get("/v1/models/sim/demo").json() == models["sim/demo"]
    assert error_of(front.client.get("/v1/models/none")) == (404, "not_found")


def test_health_and_status(front: FrontProcess) -> None:
    assert front.client.get("/healthz").json() == {"status": "ok"}
    assert front.client.get("/readyz").json() == {"ready": True, "hindrances": []}
    assert front.client.get("/v1/status").json()["workers"] == 1
