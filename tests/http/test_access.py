"""Tokens and tenants: who asks, and what is theirs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from front_process import FrontProcess, batch_lines, chat, error_of
from installation import Installation

from chatq.contract.config_problems import ConfigError
from chatq.contract.settings import Settings
from chatq.http.access import Access, Caller, Unauthorized

ROOT, ACME, GLOBEX = "root-token-1", "acme-token-1", "globex-token-1"


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


@pytest.fixture(scope="module")
def guarded(installed: Installation) -> Iterator[FrontProcess]:
    """A front with tokens: the operator's, and those of two tenants, of which one may use one connection."""
    tokens = installed.folder / "tokens.yaml"
    tokens.write_text(
        json.dumps(
            [{"token": ACME, "tenant": "acme"}, {"token": GLOBEX, "tenant": "globex", "connections": ["sim"]}]
        )
    )
    tokens.chmod(0o600)
    environ = {"CHATQ_HTTP_TOKENS": ROOT, "CHATQ_HTTP__TOKENS_FILE": str(tokens)}
    with FrontProcess(installed, environ=environ) as process:
        yield process


@pytest.mark.parametrize(
    "headers", [{}, bearer("wrong"), {"authorization": "Bearer"}, {"authorization": f"Basic {ROOT}"}]
)
def test_without_a_token_that_is_known_nothing_is_answered(
    guarded: FrontProcess, headers: dict[str, str]
) -> None:
    for method, path in (
        ("GET", "/v1/models"), ("GET", "/v1/status"), ("GET", "/v1/files"), ("GET", "/v1/batches"),
        ("POST", "/v1/chat/completions"), ("POST", "/v1/jobs"), ("POST", "/v1/files"), ("POST", "/v1/batches"),
        ("GET", "/v1/jobs/x"), ("DELETE", "/v1/jobs/x"), ("GET", "/v1/connections"),
        ("POST", "/v1/connections/sim/test"),
    ):  # fmt: skip
        answer = guarded.client.request(method, path, headers=headers)
        assert error_of(answer) == (401, "invalid_token"), path
        assert answer.headers["www-authenticate"] == "Bearer"


def test_health_needs_no_token(guarded: FrontProcess) -> None:
    assert guarded.client.get("/healthz").status_code == 200
    assert guarded.client.get("/readyz").status_code == 200


def test_any_host_is_answered_where_tokens_are_asked_for(guarded: FrontProcess) -> None:
    answer = guarded.client.get("/v1/models", headers={**bearer(ROOT), "host": "chatq.example.com"})
    assert answer.status_code == 200


def test_a_tenant_sees_its_own_jobs_and_the_operator_all(guarded: FrontProcess) -> None:
    job = {"connection": "sim", "prompt": "job:a1 hi"}
    made = guarded.client.post("/v1/jobs", json=job, headers=bearer(ACME)).json()["id"]
    path = f"/v1/jobs/{made}"
    for token, status in ((ACME, 200), (GLOBEX, 404), (ROOT, 200)):
        answer = guarded.client.get(path, params={"wait": 30}, headers=bearer(token))
        assert answer.status_code == status
    assert guarded.client.get(path, headers=bearer(ACME)).json()["tenant"] == "acme"
    assert guarded.client.delete(path, headers=bearer(GLOBEX)).status_code == 404
    assert guarded.client.delete(path, headers=bearer(ACME)).status_code == 204


def test_a_job_of_nobody_is_no_tenants(guarded: FrontProcess) -> None:
    made = guarded.installation.run("sim", "job:a2 hi").id
    assert guarded.client.get(f"/v1/jobs/{made}", headers=bearer(ACME)).status_code == 404


def test_a_model_that_is_named_like_a_tenant_makes_no_tenant(guarded: FrontProcess) -> None:
    job = {"connection": "sim", "model": "tenant:globex", "prompt": "hi", "not_before": 3600}
    made = guarded.client.post("/v1/jobs", json=job, headers=bearer(ACME)).json()
    assert guarded.client.get(f"/v1/jobs/{made['id']}", headers=bearer(GLOBEX)).status_code == 404
    assert guarded.client.delete(f"/v1/jobs/{made['id']}", headers=bearer(ACME)).json()["tenant"] == "acme"


def test_a_tenants_token_makes_no_other_tenants_jobs(guarded: FrontProcess) -> None:
    job = {"connection": "sim", "prompt": "hi", "tenant": "globex"}
    assert error_of(guarded.client.post("/v1/jobs", json=job, headers=bearer(ACME))) == (400, "invalid_job")
    completion = chat("hi", chatq={"tenant": "globex"})
    answer = guarded.client.post("/v1/chat/completions", json=completion, headers=bearer(ACME))
    assert error_of(answer) == (400, "invalid_job")


def test_an_idempotency_key_belongs_to_its_tenant(guarded: FrontProcess) -> None:
    for token, name in ((ACME, "a3"), (GLOBEX, "a4")):
        answer = guarded.ask(f"job:{name} hi", headers={**bearer(token), "idempotency-key": "mine"})
        assert answer.status_code == 200


def test_a_token_uses_its_connections_and_knows_of_no_other(guarded: FrontProcess) -> None:
    headers = bearer(GLOBEX)
    answer = guarded.ask("hi", model="once", headers=headers)
    assert error_of(answer) == (404, "unknown_connection")
    assert "Known: sim." in answer.json()["error"]["message"]
    assert guarded.client.post("/v1/connections/once/check", headers=headers).status_code == 404
    listed = guarded.client.get("/v1/connections", headers=headers).json()["data"]
    assert [connection["id"] for connection in listed] == ["sim"]
    models = guarded.client.get("/v1/models", headers=headers).json()["data"]
    assert {model["id"].partition("/")[0] for model in models} == {"sim"}
    status = guarded.client.get("/v1/status", headers=headers).json()
    assert set(status["connections"]) == {"sim"}


@pytest.mark.thorough
def test_files_and_batches_are_their_tenants(guarded: FrontProcess) -> None:
    file_id = guarded.upload(batch_lines("job:a5 hi"), headers=bearer(ACME)).json()["id"]
    assert guarded.client.get(f"/v1/files/{file_id}/content", headers=bearer(GLOBEX)).status_code == 404
    assert guarded.batch(file_id, headers=bearer(GLOBEX)).status_code == 404
    made = guarded.batch(file_id, headers=bearer(ACME)).json()["id"]
    batch = guarded.ended(made, bearer(ACME))
    assert batch["request_counts"]["completed"] == 1
    for path in (f"/v1/batches/{made}", f"/v1/files/{batch['output_file_id']}/content"):
        assert guarded.client.get(path, headers=bearer(GLOBEX)).status_code == 404
        assert guarded.client.get(path, headers=bearer(ACME)).status_code == 200
    cancel = guarded.client.post(f"/v1/batches/{made}/cancel", headers=bearer(GLOBEX))
    assert error_of(cancel) == (404, "not_found")
    for path in ("/v1/files", "/v1/batches"):
        assert guarded.client.get(path, headers=bearer(GLOBEX)).json()["data"] == []
        assert guarded.client.get(path, headers=bearer(ACME)).json()["data"] != []
        assert guarded.client.get(path, headers=bearer(ROOT)).json()["data"] != []


def test_a_line_of_a_batch_may_use_what_its_token_may(guarded: FrontProcess) -> None:
    lines = batch_lines("hi").replace(b'"sim"', b'"once"')
    file_id = guarded.upload(lines, headers=bearer(GLOBEX)).json()["id"]
    batch = guarded.ended(guarded.batch(file_id, headers=bearer(GLOBEX)).json()["id"], bearer(GLOBEX))
    assert batch["errors"]["data"][0]["code"] == "unknown_connection"


# The tokens themselves


def settings(**http: object) -> Settings:
    return Settings.model_validate({"http": http, "connections": {"sim": {"source": "openai"}}})


def problems_of(path: Path, text: str) -> list[str]:
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(ConfigError) as raised:
        Access.of(settings(tokens_file=str(path)), "127.0.0.1")
    return [f"{problem.place.line}: {problem.key}: {problem.message}" for problem in raised.value.problems]


def test_what_is_wrong_with_a_tokens_file_is_told_at_once_and_shows_no_token(tmp_path: Path) -> None:
    told = problems_of(
        tmp_path / "tokens.yaml",
        "- token: short\n"
        "- token: long-enough\n  tennant: acme\n"
        "- tenant: acme\n"
        "- token: long-enough\n  connections: [sum]\n"
        "- nothing\n",
    )
    assert told == [
        "1: [0].token: expected at least 8 characters: it can be guessed",
        '3: [1].tennant: unknown key; did you mean "tenant"?',
        "4: [2].token: missing",
        "5: [3].token: is another entry's too",
        '6: [3].connections: no such connection: "sum"; did you mean "sim"?',
        "7: [4]: expected token, tenant, connections, got a str",
    ]


def test_a_tokens_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tokens.yaml"
    path.write_text("- token: long-enough\n")
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        Access.of(settings(tokens_file=str(path)), "127.0.0.1")


def test_a_tokens_file_that_is_none_is_told_so(tmp_path: Path) -> None:
    assert problems_of(tmp_path / "a", "token: x\n") == [
        "1: : expected a list of entries with token, tenant, connections"
    ]
    assert problems_of(tmp_path / "b", "[]\n") == ["None: : expected at least one entry, got none"]
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        Access.of(settings(tokens_file=str(tmp_path / "none")), "127.0.0.1")


def test_without_tokens_everybody_is_the_caller_and_only_on_this_machine() -> None:
    assert Access.of(settings(), "127.0.0.1").caller(None) == Caller()
    with pytest.raises(ConfigError, match="without tokens it listens on this machine alone"):
        Access.of(settings(), "0.0.0.0")


def test_a_token_is_its_callers() -> None:
    access = Access([("token-of-a", Caller("a")), ("token-of-b", Caller("b"))])
    assert access.caller("Bearer token-of-b") == Caller("b")
    assert access.caller("bearer token-of-a") == Caller("a")
    with pytest.raises(Unauthorized):
        access.caller("Bearer token-of-c")
