"""The page: what it shows, what its buttons do, and that nothing that others wrote becomes a part of it."""

from __future__ import annotations

import asyncio
import html
import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from front_process import FrontProcess, batch_lines
from hostile_provider import ATTACK, MODEL, HostileProvider
from installation import Installation, until
from page_visitor import Form, Visitor

from chatq.contract.settings import Settings
from chatq.http.access import Access
from chatq.http.application import application
from chatq.http.guard import _PAGES
from chatq.http.page import batch_routes, connection_routes, job_routes, login_routes

ROOT, ACME, GLOBEX, SIM = "root-token-3", "acme-token-3", "globex-token-3", "sim-token-3"


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """An installation with a provider whose every text is an attack."""
    with HostileProvider() as hostile:
        limits = {"requests_per_minute": 600, "scope": "limited"}
        connections = {
            "hostile": {"source": "custom", "url": hostile.url, "model": "tame"},
            "limited": {"source": "custom", "url": "simulator", "model": "demo", "limits": limits},
        }
        with Installation(
            tmp_path_factory.mktemp("page"), http={"port": 0}, connections=connections
        ) as installed:
            installed.start_worker()
            yield installed


@pytest.fixture(scope="module")
def open_front(shown: Installation) -> Iterator[FrontProcess]:
    """A front without tokens."""
    with FrontProcess(shown) as process:
        yield process


@pytest.fixture(scope="module")
def guarded(shown: Installation) -> Iterator[FrontProcess]:
    """A front with the tokens of the operator, of two tenants, of which one may use one connection, and of somebody
    without a tenant who may use one."""
    tokens = shown.folder / "tokens.yaml"
    tokens.write_text(
        json.dumps(
            [
                {"token": ACME, "tenant": "acme"},
                {"token": GLOBEX, "tenant": "globex", "connections": ["sim"]},
                {"token": SIM, "connections": ["sim"]},
            ]
        )
    )
    tokens.chmod(0o600)
    environ = {"CHATQ_HTTP_TOKENS": ROOT, "CHATQ_HTTP__TOKENS_FILE": str(tokens)}
    with FrontProcess(shown, environ=environ) as process:
        yield process


@pytest.fixture
def visitor(open_front: FrontProcess) -> Visitor:
    return Visitor(open_front.url)


def made_batch(front: FrontProcess, *prompts: str, token: str = "any", **keys: object) -> str:
    headers = {"authorization": f"Bearer {token}"}
    file_id = front.upload(batch_lines(*prompts), headers=headers).json()["id"]
    batch_id: str = front.batch(file_id, headers=headers, **keys).json()["id"]
    return batch_id


# What it shows


def test_the_overview_tells_of_connections_workers_and_readiness(
    visitor: Visitor, shown: Installation
) -> None:
    page = visitor.page("/")
    assert "Ready" in page.text
    assert {"sim", "once", "openai", "hostile"} <= {
        (attributes.get("id") or "").removeprefix("connection-") for _, attributes in page.tags
    }
    assert shown.registered()[0] in page.text
    bars = [attributes.get("aria-label") for tag, attributes in page.tags if tag == "svg"]
    assert "requests a minute: 0 of 600 used" in bars


def test_a_check_tells_its_outcome(visitor: Visitor) -> None:
    answer = visitor.press_live("/connections/sim", "Check sim")
    assert (answer.status_code, answer.headers["hx-trigger"]) == (200, "refresh, checked")
    assert "sim answers" in answer.text
    assert visitor.press("/", "Check sim").headers["location"] == "/connections/sim"


def test_a_test_message_tells_its_outcome(visitor: Visitor, shown: Installation) -> None:
    answer = visitor.press_live("/", "Test message through sim")
    assert answer.status_code == 200
    assert "Test message through sim: succeeded" in answer.text
    assert "answered <q>answer to" in answer.text
    job = visitor.press("/", "Test message through sim").headers["location"]
    assert visitor.page(job).text.count("succeeded") == 1


def test_a_test_message_goes_to_the_model_that_was_picked(visitor: Visitor) -> None:
    answer = visitor.press_live("/connections/openai", "Test message", model="gpt-4o")
    assert "gpt-4o answered" in answer.text


def test_a_connection_is_paused_and_resumed(visitor: Visitor, shown: Installation) -> None:
    assert visitor.press("/", "Pause once").headers["location"] == "/connections/once"
    page = visitor.page("/connections/once")
    assert "Paused by an operator, on the page." in page.text
    assert "Resume it: chatq connections resume once" in page.text
    assert shown.queue.overview()["connections"]["once"]["paused"]["code"] == "operator"
    answer = visitor.press_live("/connections/once", "Resume once")
    assert "once is resumed." in answer.text
    assert shown.queue.overview()["connections"]["once"]["paused"] is None


@pytest.mark.thorough
def test_what_does_not_work_is_told_with_its_remedy(visitor: Visitor) -> None:
    visitor.press("/", "Pause once")
    try:
        answer = visitor.press_live("/", "Test message through once")
        assert answer.status_code == 503
        assert "is paused" in answer.text
        assert "Resume it: chatq connections resume once" in answer.text
    finally:
        visitor.press("/", "Resume once")
    page = visitor.page("/connections/sum", status=404)
    assert "sum" in page.text
    assert "Overview" in page.text


def test_the_backlog_of_the_last_hour_is_drawn(visitor: Visitor, shown: Installation) -> None:
    minute = int(shown.now_ms() // 60_000)
    samples = {str(one % 60): f"{one} {number} 1" for one, number in ((minute - 30, 20), (minute - 29, 40))}
    shown.redis.hset("chatq:backlog:once", mapping=samples)
    labels = [
        attributes.get("aria-label")
        for tag, attributes in visitor.page("/connections/once").tags
        if tag == "svg"
    ]
    assert "Waiting in the last hour: 40 at most, 0 now. Running now: 0." in labels


def test_limits_tell_what_is_set_learned_and_used(visitor: Visitor) -> None:
    page = visitor.page("/connections/limited")
    for name in ("Allowance", "Used now", "Set", "Learned", "Found", "Next may go"):
        assert name in page.text
    bars = [attributes.get("aria-label") for tag, attributes in page.tags if tag == "svg"]
    assert "requests a minute: 0 used of 600" in bars
    assert [attributes["class"] for tag, attributes in page.tags if tag == "line"] == ["mark set"]


def test_the_models_of_the_last_check_can_be_picked_and_copied(visitor: Visitor) -> None:
    page = visitor.page("/connections/openai")
    options = [attributes.get("value") for tag, attributes in page.tags if tag == "option"]
    assert options[0] == ""
    assert "gpt-4o" in options
    assert "openai/gpt-4o" in page.text


# Jobs


def test_a_job_is_found_by_its_id(visitor: Visitor, shown: Installation) -> None:
    record = shown.run("sim", "job:pg2 hi", metadata={"for": "page"})
    assert (
        visitor.client.get("/jobs", params={"id": f" {record.id} "}).headers["location"]
        == f"/jobs/{record.id}"
    )
    page = visitor.page(f"/jobs/{record.id}")
    assert "succeeded" in page.text
    assert "page" in page.text
    visitor.page("/jobs?id=no%20such", status=400)
    assert "There is no job" in visitor.page("/jobs/none", status=404).text


def test_an_answer_is_shown_when_it_is_asked_for(visitor: Visitor, shown: Installation) -> None:
    record = shown.run("sim", "job:pg3 [sim: say forty-two]")
    assert "forty-two" not in visitor.page(f"/jobs/{record.id}").text
    assert "forty-two" in visitor.page(f"/jobs/{record.id}?answer=shown").text


def test_a_failed_job_tells_its_error_and_remedy(visitor: Visitor, shown: Installation) -> None:
    record = shown.run("sim", "job:pg4 [sim: no such directive]")
    assert record.error is not None
    page = visitor.page(f"/jobs/{record.id}")
    assert record.error.code in page.text
    assert record.error.remedy in page.text


def test_a_waiting_job_tells_why_and_can_be_cancelled(visitor: Visitor, shown: Installation) -> None:
    job = shown.queue.enqueue("sim", "job:pg5 hi", not_before=3600)
    assert "It may not start before" in visitor.page(f"/jobs/{job.id}").text
    assert visitor.press(f"/jobs/{job.id}", "Cancel this job").headers["location"] == f"/jobs/{job.id}"
    assert shown.queue.get(job.id).state == "cancelled"


# Batches


@pytest.mark.thorough
def test_a_batch_tells_how_it_goes_and_can_be_paused_resumed_and_cancelled(
    visitor: Visitor, open_front: FrontProcess, shown: Installation
) -> None:
    batch_id = made_batch(open_front, "job:pg6 hi", "job:pg7 hi [sim: latency 60]")
    path = f"/batches/{batch_id}"
    until(lambda: "1 of 2" in visitor.page(path).text, "pg6")
    assert "running" in visitor.page(path).text
    assert visitor.press(path, f"Pause batch {batch_id}").headers["location"] == path
    assert shown.queue.batch(batch_id).paused_at is not None
    assert "The batch goes on." in visitor.press_live("/batches", f"Resume batch {batch_id}").text
    assert shown.queue.batch(batch_id).paused_at is None
    visitor.press("/", f"Cancel batch {batch_id}")
    assert open_front.ended(batch_id)["status"] == "cancelled"
    until(lambda: "cancelled" in visitor.page(path).text, "the page to say so")


@pytest.mark.thorough
def test_files_of_a_batch_are_downloaded_and_failed_jobs_tried_again(
    visitor: Visitor, open_front: FrontProcess
) -> None:
    batch_id = made_batch(open_front, "job:pg8 hi", "job:pg9 [sim: no such] hi")
    batch = open_front.ended(batch_id)
    output, errors = (visitor.client.get(f"/batches/{batch_id}/{kind}") for kind in ("output", "errors"))
    assert output.text == open_front.client.get(f"/v1/files/{batch['output_file_id']}/content").text
    assert output.headers["content-disposition"] == f'attachment; filename="{batch_id}_output.jsonl"'
    assert (output.headers["content-type"], json.loads(errors.text)["custom_id"]) == (
        "application/octet-stream",
        "c1",
    )
    location = visitor.press("/batches", f"Retry failed jobs of batch {batch_id}").headers["location"]
    again = open_front.ended(location.removeprefix("/batches/"))
    assert (again["retry_of"], again["request_counts"]["total"]) == (batch_id, 1)
    assert batch_id in visitor.page(location).text
    visitor.page(f"{location}/output", status=404)


def test_batches_of_the_command_are_shown_to_who_sees_everything(
    visitor: Visitor, shown: Installation
) -> None:
    batch = shown.queue.enqueue_batch([{"connection": "sim", "prompt": "job:pg10 [sim: no such] hi"}])
    shown.follow(batch.id)
    path = f"/batches/{batch.id}"
    until(lambda: "ended" in visitor.page(path).text, "its end")
    location = visitor.press("/batches", f"Retry failed jobs of batch {batch.id}").headers["location"]
    assert shown.queue.batch(location.removeprefix("/batches/")).retry_of == batch.id


def test_lines_that_were_refused_are_told(visitor: Visitor, open_front: FrontProcess) -> None:
    file_id = open_front.upload(b'{"x": 1}\n').json()["id"]
    batch_id = open_front.batch(file_id).json()["id"]
    open_front.ended(batch_id)
    page = visitor.page(f"/batches/{batch_id}")
    assert "Lines that were refused" in page.text
    assert "invalid_job" in page.text


def test_a_used_up_budget_is_told_and_raised(
    visitor: Visitor, open_front: FrontProcess, shown: Installation
) -> None:
    batch_id = made_batch(open_front, *(f"job:pg{number} hi" for number in (11, 12)), max_tokens=1)
    path = f"/batches/{batch_id}"
    until(lambda: "budget used up" in visitor.page(path).text, "the budget to be used up")
    answer = visitor.press_live(path, "Resume", max_tokens="1")
    assert answer.status_code == 409
    assert "does not go on" in answer.text
    assert visitor.press_live(path, "Resume", max_tokens="much").status_code == 400
    visitor.press(path, "Resume", max_tokens="100000")
    assert open_front.ended(batch_id)["request_counts"]["completed"] == 2


# What others wrote


def test_no_text_of_a_provider_or_a_caller_becomes_a_part_of_the_page(
    visitor: Visitor, open_front: FrontProcess, shown: Installation
) -> None:
    failed = shown.run("hostile", "please fail", metadata={ATTACK[:64]: ATTACK})
    answered = shown.run("hostile", "hi")
    batch_id = made_batch(open_front, "job:pg13 hi", metadata={"<b>'\"": ATTACK})
    assert visitor.press_live("/", "Check hostile").status_code == 200
    test = visitor.press_live("/connections/hostile", "Test message").text
    pages = {
        path: visitor.client.get(path).text
        for path in (
            "/",
            "/batches",
            "/connections/hostile",
            f"/batches/{batch_id}",
            f"/jobs/{failed.id}",
            f"/jobs/{answered.id}?answer=shown",
        )
    }
    for text in (test, *pages.values()):
        assert "<script>document" not in text
        assert "<img src=x" not in text
        assert "<svg onload" not in text
        assert "49}" not in text
    escaped = html.escape(ATTACK).replace("&quot;", "&#34;").replace("&#x27;", "&#39;")
    for path in (f"/batches/{batch_id}", f"/jobs/{failed.id}", f"/jobs/{answered.id}?answer=shown"):
        assert escaped in pages[path]
    options = [
        attributes.get("value")
        for tag, attributes in visitor.page("/connections/hostile").tags
        if tag == "option"
    ]
    assert MODEL in options


def test_what_an_address_says_is_escaped_too(visitor: Visitor) -> None:
    for path in ("/jobs/<script>", "/batches/<script>", "/connections/<script>", "/jobs?id=<script>"):
        assert "<script>" not in visitor.client.get(path).text.replace("<script src=", "")


# Whose things are shown


@pytest.mark.thorough
def test_tenants_see_and_touch_their_own_alone(guarded: FrontProcess, shown: Installation) -> None:
    acme, globex, root = (Visitor(guarded.url, token) for token in (ACME, GLOBEX, ROOT))
    job = guarded.client.post(
        "/v1/jobs",
        json={"connection": "sim", "prompt": "job:pg14 hi", "not_before": 3600},
        headers={"authorization": f"Bearer {ACME}"},
    ).json()["id"]
    batch_id = made_batch(guarded, "job:pg15 [sim: no such] hi", token=ACME)
    until(lambda: "1 of 1" in acme.page(f"/batches/{batch_id}").text, "pg15")
    for path in (f"/jobs/{job}", f"/batches/{batch_id}"):
        globex.page(path, status=404)
        root.page(path)
    until(lambda: "completed" in acme.page(f"/batches/{batch_id}").text, "its end")
    for path in (f"/batches/{batch_id}/output", f"/batches/{batch_id}/errors"):
        globex.page(path, status=404)
    assert batch_id in acme.page("/batches").text
    assert batch_id not in globex.page("/batches").text
    token = {"form_token": globex.form("/", "Log out").fields["form_token"]}
    for action in (
        f"/jobs/{job}/cancel",
        f"/batches/{batch_id}/retry",
        f"/batches/{batch_id}/cancel",
        f"/batches/{batch_id}/pause",
        f"/batches/{batch_id}/resume",
    ):
        assert globex.send(Form(action, "post", token)).status_code == 404
    assert not shown.queue.get(job).final
    shown.queue.cancel(job)


def test_a_token_for_one_connection_sees_that_one(guarded: FrontProcess) -> None:
    globex = Visitor(guarded.url, GLOBEX)
    page = globex.page("/")
    assert "openai" not in page.text
    assert "Worker" not in page.text.replace("Workers", "", 1)
    globex.page("/connections/openai", status=404)
    token = {"form_token": globex.form("/", "Log out").fields["form_token"]}
    for action in ("check", "test", "pause", "resume"):
        assert globex.send(Form(f"/connections/openai/{action}", "post", token)).status_code == 404


@pytest.mark.parametrize("token", [ACME, SIM])
def test_only_the_operator_pauses_what_others_use(
    guarded: FrontProcess, shown: Installation, token: str
) -> None:
    visitor = Visitor(guarded.url, token)
    assert not [form for form in visitor.page("/").forms if form.button.startswith("Pause")]
    fields = {"form_token": visitor.form("/", "Log out").fields["form_token"]}
    assert visitor.send(Form("/connections/sim/pause", "post", fields)).status_code == 403
    assert shown.queue.overview()["connections"]["sim"]["paused"] is None


def test_a_tenants_test_message_is_the_tenants_job(guarded: FrontProcess) -> None:
    acme = Visitor(guarded.url, ACME)
    job = acme.press("/", "Test message through sim").headers["location"]
    assert "acme" in acme.page(job).text
    Visitor(guarded.url, GLOBEX).page(job, status=404)


def test_to_a_tenant_it_is_not_said_what_stands_in_a_jobs_way(
    guarded: FrontProcess, shown: Installation
) -> None:
    headers = {"authorization": f"Bearer {ACME}"}
    job = {"connection": "sim", "prompt": "hi", "not_before": 3600}
    job_id = guarded.client.post("/v1/jobs", json=job, headers=headers).json()["id"]
    assert "Why it waits" not in Visitor(guarded.url, ACME).page(f"/jobs/{job_id}").text
    assert "Why it waits" in Visitor(guarded.url, ROOT).page(f"/jobs/{job_id}").text
    shown.queue.cancel(job_id)


# What other sites can make a browser send


@pytest.mark.parametrize("with_tokens", [False, True])
def test_a_form_that_another_site_sends_does_nothing(
    open_front: FrontProcess, guarded: FrontProcess, shown: Installation, with_tokens: bool
) -> None:
    visitor = Visitor(guarded.url, ROOT) if with_tokens else Visitor(open_front.url)
    form = visitor.form("/", "Pause once")
    url = str(visitor.client.base_url).rstrip("/")
    for headers in (
        {},
        {"origin": "null"},
        {"origin": "http://evil.example.com"},
        {"origin": "http://localhost:1"},
        {"origin": url, "sec-fetch-site": "cross-site"},
        {"origin": url, "sec-fetch-site": "same-site"},
        {"origin": url, "sec-fetch-site": "none"},
        {"origin": url, "authorization": "Bearer any", "sec-fetch-site": "cross-site"},
    ):
        assert visitor.send(form, headers=headers).status_code == 403, headers
    assert shown.queue.overview()["connections"]["once"]["paused"] is None


@pytest.mark.parametrize("with_tokens", [False, True])
def test_nor_does_one_without_the_token_of_the_session(
    open_front: FrontProcess, guarded: FrontProcess, shown: Installation, with_tokens: bool
) -> None:
    visitor, other = (
        Visitor(guarded.url, ROOT) if with_tokens else Visitor(open_front.url) for _ in range(2)
    )
    form = visitor.form("/", "Pause once")
    theirs = other.form("/", "Pause once").fields["form_token"]
    for token in ("", "0" * 64, theirs):
        answer = visitor.send(form, form_token=token)
        assert answer.status_code == 403
        assert "Reload the page" in answer.text
    assert shown.queue.overview()["connections"]["once"]["paused"] is None


def test_a_form_is_a_form_and_short(visitor: Visitor) -> None:
    form = visitor.form("/", "Check sim")
    as_json = visitor.client.post(form.action, json=form.fields, headers=visitor.origin)
    assert as_json.status_code == 415
    assert visitor.send(form, more="x" * 20_000).status_code == 413
    many = {f"f{number}": "" for number in range(30)}
    assert visitor.send(form, **many).status_code == 400


def test_a_foreign_host_gets_no_page_without_tokens(open_front: FrontProcess) -> None:
    assert open_front.client.get("/", headers={"host": "evil.example.com"}).status_code == 403


def test_the_api_still_takes_no_form_without_tokens(visitor: Visitor) -> None:
    answer = visitor.client.post("/v1/connections/sim/test", data={"a": "b"}, headers=visitor.origin)
    assert answer.status_code == 415


def test_the_guard_leaves_to_the_page_what_the_page_checks_and_nothing_else() -> None:
    taken = {
        route.path.split("/")[1]  # type: ignore[attr-defined]
        for part in (login_routes, connection_routes, batch_routes, job_routes)
        for route in part.router.routes
        if "POST" in route.methods  # type: ignore[attr-defined]
    }
    assert taken == _PAGES


# When something is wrong


async def _visited_without_a_server(folder: Path) -> httpx.Response:
    settings = Settings.model_validate(
        {"redis": {"url": "redis://127.0.0.1:1"}, "http": {"folder": str(folder)}, "connections": {}}
    )
    app, front = application(settings, Access([]))
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        answer = await client.get("/")
    await front.close()
    return answer


def test_without_its_server_the_page_says_what_is_wrong(tmp_path: Path) -> None:
    answer = asyncio.run(_visited_without_a_server(tmp_path))
    assert answer.status_code == 503
    assert "That did not work" in answer.text
    assert "redis" in answer.text
    assert "default-src" in answer.headers["content-security-policy"]


@pytest.mark.thorough
def test_of_an_installation_with_nothing_in_it_the_page_says_what_to_do(tmp_path: Path) -> None:
    with Installation(tmp_path, http={"port": 0}) as installed:
        config = json.loads(installed.config.read_text())
        installed.config.write_text(json.dumps({**config, "connections": {}}))
        with FrontProcess(installed) as front:
            text = Visitor(front.url).page("/").text
    assert "Not ready" in text
    assert "Start a worker: chatq worker" in text
    assert "There is no connection yet." in text
    assert "There is no batch yet." in text
