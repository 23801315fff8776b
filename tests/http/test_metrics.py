"""`/metrics`: what Prometheus reads, and what the dashboard and the alerts make of it."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from front_process import FrontProcess, error_of
from installation import LOST_CONNECTION, Installation
from prometheus_client.parser import text_string_to_metric_families

from chatq.contract.settings import Settings
from chatq.http.access import Access
from chatq.http.application import application
from chatq.http.prometheus_text import Family, Sample, label, written

ROOT = Path(__file__).parents[2]
DASHBOARD = ROOT / "deploy" / "grafana-dashboard.json"
ALERTS = ROOT / "deploy" / "prometheus-alerts.yml"
OPERATIONS = ROOT / "docs" / "operations.md"
OPERATOR, TENANT, NARROW = "operator-token", "acme-tenant-token", "one-connection-token"

Labels = frozenset[tuple[str, str]]
Samples = dict[str, dict[Labels, float]]


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FrontProcess]:
    """A front over an installation of which there is something of everything to tell."""
    limited = {
        "source": "custom",
        "url": "simulator",
        "model": "demo",
        "limits": {"requests_per_minute": 6000, "concurrency": 50},
        "budget": {"per_day_usd": 5},
        "price": {"input_per_million": 1, "output_per_million": 2},
    }
    unpriced = {"source": "custom", "url": "simulator", "model": "demo"}
    unreachable = {"source": "custom", "url": "http://127.0.0.1:1/v1", "model": "demo"}
    with Installation(
        tmp_path_factory.mktemp("metrics"),
        http={"port": 0},
        connections={"limited": limited, "unpriced": unpriced, "unreachable": unreachable},
    ) as installed:
        installed.start_worker()
        for connection in ("unpriced", "limited"):
            assert installed.run(connection, f"job:{connection} hi").state == "succeeded"
        assert installed.run("once", "job:fails [sim: server_error first 1] hi").state == "failed"
        with FrontProcess(installed) as front:
            yield front


def read(text: str) -> Samples:
    """All samples by name and labels, as Prometheus' own library reads them."""
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[frozenset(sample.labels.items())] = sample.value
    return found


def scrape(front: FrontProcess) -> Samples:
    answer = front.client.get("/metrics")
    assert answer.status_code == 200
    return read(answer.text)


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples[name][frozenset(labels.items())]


def test_jobs_are_told_by_connection_state_and_code(watched: FrontProcess) -> None:
    samples = scrape(watched)
    assert value(samples, "chatq_jobs_ended_total", connection="unpriced", state="succeeded") == 1
    assert value(samples, "chatq_jobs_ended_total", connection="once", state="failed") == 1
    assert value(samples, "chatq_jobs_failed_total", connection="once", code="server_error") == 1
    assert value(samples, "chatq_calls_failed_total", connection="once", code="server_error") == 1
    assert value(samples, "chatq_jobs", connection="unpriced", state="queued") == 0


def test_a_job_that_is_enqueued_waits_and_is_counted(watched: FrontProcess) -> None:
    before = value(scrape(watched), "chatq_jobs_enqueued_total")
    job = watched.installation.queue.enqueue("openai", "job:waits hi", not_before=3600)
    samples = scrape(watched)
    watched.installation.queue.cancel(job.id)
    assert value(samples, "chatq_jobs_enqueued_total") == before + 1
    assert value(samples, "chatq_jobs", connection="openai", state="queued") == 1


def test_times_are_histograms_in_seconds(watched: FrontProcess) -> None:
    record = watched.installation.run("openai", "job:timed hi")
    samples = scrape(watched)
    for name in ("chatq_job_line_seconds", "chatq_call_seconds", "chatq_call_added_seconds"):
        buckets = {
            dict(labels)["le"]: count
            for labels, count in samples[f"{name}_bucket"].items()
            if ("connection", "openai") in labels
        }
        assert list(buckets.values()) == sorted(buckets.values())
        assert buckets["+Inf"] == value(samples, f"{name}_count", connection="openai") == 1
    assert record.result is not None
    called = value(samples, "chatq_call_seconds_sum", connection="openai")
    assert abs(called - record.result.latency_s) < 0.002
    assert record.started_at is not None
    assert record.finished_at is not None
    in_line = value(samples, "chatq_job_line_seconds_sum", connection="openai")
    added = value(samples, "chatq_call_added_seconds_sum", connection="openai")
    assert in_line == pytest.approx((record.started_at - record.created_at).total_seconds(), abs=0.002)
    whole = (record.finished_at - record.started_at).total_seconds()
    assert called + added == pytest.approx(whole, abs=0.002)


def test_tokens_cost_and_budget_are_told(watched: FrontProcess) -> None:
    samples = scrape(watched)
    assert value(samples, "chatq_tokens_total", connection="limited", kind="answer") > 0
    cost = value(samples, "chatq_cost_usd_total", connection="limited")
    assert cost > 0
    assert value(samples, "chatq_budget_usd", connection="limited") == 5
    assert value(samples, "chatq_budget_spent_usd", connection="limited") == cost
    assert value(samples, "chatq_budget_used_up", connection="limited") == 0
    assert value(samples, "chatq_answers_uncosted_total", connection="unpriced") == 1
    assert {("connection", "limited")} == set().union(*samples["chatq_budget_usd"])


def test_limits_are_told_with_what_is_used_of_them(watched: FrontProcess) -> None:
    samples = scrape(watched)
    assert value(samples, "chatq_limit", connection="limited", kind="requests") == 6000
    assert value(samples, "chatq_limit", connection="limited", kind="concurrency") == 50
    assert value(samples, "chatq_limit_used", connection="limited", kind="concurrency") == 0


def test_what_is_in_flight_is_told_with_the_slots(watched: FrontProcess) -> None:
    installed = watched.installation
    installed.hold_answers()
    jobs = [installed.queue.enqueue("sim", f"job:flies{number} hi") for number in range(3)]
    installed.await_in_flight(3)
    samples = scrape(watched)
    installed.release_answers()
    for job in jobs:
        installed.queue.wait(job.id, 30)
    assert value(samples, "chatq_jobs", connection="sim", state="running") == 3
    assert (value(samples, "chatq_slots"), value(samples, "chatq_slots_used")) == (100, 3)
    assert (value(samples, "chatq_workers"), value(samples, "chatq_workers_stalled")) == (1, 0)
    assert value(samples, "chatq_backlog_jobs") == 3
    assert value(samples, "chatq_backlog_bytes") > 0


def test_a_pause_is_told_with_who_paused(watched: FrontProcess) -> None:
    watched.installation.queue.pause("openai")
    samples = scrape(watched)
    watched.installation.queue.resume("openai")
    assert value(samples, "chatq_connection_paused", connection="openai", by="operator") == 1
    assert value(samples, "chatq_connection_paused", connection="openai", by="failure") == 0
    assert value(scrape(watched), "chatq_connection_paused", connection="openai", by="operator") == 0


def test_a_breaker_is_in_one_state(watched: FrontProcess) -> None:
    samples = scrape(watched)
    states = {
        dict(labels)["state"]: told
        for labels, told in samples["chatq_breaker"].items()
        if ("connection", "sim") in labels
    }
    assert states == {"closed": 1, "open": 0, "half_open": 0}


def test_the_time_of_scripts_is_the_servers_own(watched: FrontProcess) -> None:
    before = watched.installation.redis.info("commandstats")["cmdstat_evalsha"]
    samples = scrape(watched)
    assert value(samples, "chatq_redis_script_seconds_count") >= before["calls"]
    assert value(samples, "chatq_redis_script_seconds_sum") >= before["usec"] / 1e6


def test_the_servers_memory_is_told_with_its_bound(watched: FrontProcess) -> None:
    samples = scrape(watched)
    bound = watched.installation.redis.config_get("maxmemory")["maxmemory"]
    assert value(samples, "chatq_redis_max_memory_bytes") == int(bound) > 0
    assert 500_000 < value(samples, "chatq_redis_memory_bytes") < int(bound)


def test_the_last_check_of_a_connection_is_told(watched: FrontProcess) -> None:
    assert value(scrape(watched), "chatq_connection_check_ok", connection="unpriced") == 1
    watched.installation.queue.check("unreachable", 30)
    assert value(scrape(watched), "chatq_connection_check_ok", connection="unreachable") == 0


@pytest.mark.thorough
def test_counters_survive_whatever_is_restarted(watched: FrontProcess) -> None:
    def lasting(samples: Samples) -> Samples:
        """Without those of the server's own: they begin anew with it."""
        return {
            name: of
            for name, of in samples.items()
            if name.endswith(("_total", "_count", "_sum", "_bucket")) and "redis" not in name
        }

    before = lasting(scrape(watched))
    watched.installation.workers[0].expect(LOST_CONNECTION)
    watched.installation.kill_server()
    watched.installation.restart_server()
    with FrontProcess(watched.installation) as another:
        assert lasting(scrape(another)) == before


def test_names_and_units_are_as_prometheus_asks(watched: FrontProcess) -> None:
    answer = watched.client.get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", answer.text, re.MULTILINE))
    assert set(kinds) == set(re.findall(r"^# HELP (\S+) .+$", answer.text, re.MULTILINE))
    for name, kind in kinds.items():
        assert re.fullmatch(r"chatq_[a-z_]+", name)
        assert name.endswith("_total") == (kind == "counter")
        if kind in {"histogram", "summary"}:
            assert name.endswith("_seconds")
        assert not re.search(r"_(ms|milliseconds|minutes)\b", name)


def test_every_line_is_of_one_series(watched: FrontProcess) -> None:
    lines = [line for line in watched.client.get("/metrics").text.splitlines() if not line.startswith("#")]
    series = [line.rpartition(" ")[0] for line in lines]
    assert len(series) == len(set(series))


def test_no_prompt_key_or_token_is_in_it(watched: FrontProcess) -> None:
    watched.installation.run("sim", "job:canary swordfish hi")
    text = watched.client.get("/metrics").text
    assert "swordfish" not in text
    assert "sk-" not in text


def test_what_a_label_holds_cannot_break_out_of_it() -> None:
    name = 'a"b\\c\nd'
    text = written(
        [Family("chatq_x", "gauge", "Of \\ and\nmore.", [Sample("", label("connection", name), 0.25)])]
    )
    assert read(text.decode()) == {"chatq_x": {frozenset({("connection", name)}): 0.25}}


# Who may read it


@pytest.fixture(scope="module")
def guarded(watched: FrontProcess) -> Iterator[FrontProcess]:
    """A front with tokens: the operator's, a tenant's, and one for a single connection."""
    installed = watched.installation
    tokens = installed.folder / "tokens.yaml"
    entries = [{"token": TENANT, "tenant": "acme"}, {"token": NARROW, "connections": ["sim"]}]
    tokens.write_text(json.dumps(entries))
    tokens.chmod(0o600)
    environ = {"CHATQ_HTTP_TOKENS": OPERATOR, "CHATQ_HTTP__TOKENS_FILE": str(tokens)}
    with FrontProcess(installed, environ=environ) as process:
        yield process


def test_the_operators_token_reads_it_and_nobody_elses(guarded: FrontProcess) -> None:
    def asked(token: str | None) -> httpx.Response:
        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        return guarded.client.get("/metrics", headers=headers)

    assert "chatq_ready 1" in asked(OPERATOR).text
    assert error_of(asked(None)) == (401, "invalid_token")
    for token in (TENANT, NARROW):
        assert error_of(asked(token)) == (403, "invalid_request")


# Whether jobs go


def test_a_fleet_without_workers_is_not_ready(tmp_path: Path) -> None:
    with Installation(tmp_path, http={"port": 0}) as installed, FrontProcess(installed) as front:
        samples = scrape(front)
    assert (value(samples, "chatq_ready"), value(samples, "chatq_workers")) == (0, 0)


async def _asked_without_a_server(folder: Path) -> str:
    settings = Settings.model_validate(
        {"redis": {"url": "redis://127.0.0.1:1"}, "http": {"folder": str(folder)}, "connections": {}}
    )
    app, front = application(settings, Access([]))
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        answer = await client.get("/metrics")
    await front.close()
    return answer.text


def test_without_its_server_the_front_says_that_jobs_do_not_go(tmp_path: Path) -> None:
    text = asyncio.run(_asked_without_a_server(tmp_path))
    assert read(text) == {"chatq_ready": {frozenset(): 0}}


# What is shipped to go with it


def expressions(found: Any) -> Iterator[str]:
    """Every `expr` in it."""
    if isinstance(found, Mapping):
        if isinstance(found.get("expr"), str):
            yield found["expr"]
        for part in found.values():
            yield from expressions(part)
    elif isinstance(found, list):
        for part in found:
            yield from expressions(part)


def names_in(expression: str) -> set[str]:
    """The metrics of ours that a query asks for."""
    return set(re.findall(r"\bchatq_\w+", expression))


def unknown_labels(expression: str, samples: Samples) -> set[str]:
    """Labels with their values that a query selects by, and no series has."""
    missing = set()
    for name, selectors in re.findall(r"(chatq_\w+)\{([^}]*)\}", expression):
        for selected, wanted in re.findall(r'(\w+)="([^"$]*)"', selectors):
            if not any((selected, wanted) in labels for labels in samples[name]):
                missing.add(f'{name}{{{selected}="{wanted}"}}')
    return missing


def test_the_dashboard_asks_for_what_there_is(watched: FrontProcess) -> None:
    samples = scrape(watched)
    asked = list(expressions(json.loads(DASHBOARD.read_text("utf-8"))))
    assert len(asked) > 20
    assert set().union(*map(names_in, asked)) <= set(samples)
    assert set().union(*(unknown_labels(one, samples) for one in asked)) == set()


def test_the_dashboard_is_one_that_grafana_imports() -> None:
    dashboard = json.loads(DASHBOARD.read_text("utf-8"))
    panels = dashboard["panels"]
    assert dashboard["id"] is None
    assert dashboard["schemaVersion"] >= 39
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert {variable["name"] for variable in dashboard["templating"]["list"]} == {"datasource", "connection"}
    taken = set()
    for panel in panels:
        place = panel["gridPos"]
        assert panel["title"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (place["x"] + across, place["y"] + down)
            for across in range(place["w"])
            for down in range(place["h"])
        }
        assert not cells & taken, f"{panel['title']} lies on another panel"
        taken |= cells
        if panel["type"] != "row":
            assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
            assert panel["targets"]
            assert panel["description"]


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(ALERTS.read_text("utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def test_the_alerts_ask_for_what_there_is(watched: FrontProcess) -> None:
    samples = scrape(watched)
    asked = [rule["expr"] for rule in rules()]
    assert set().union(*map(names_in, asked)) <= set(samples)
    assert set().union(*(unknown_labels(one, samples) for one in asked)) == set()


def test_each_alert_says_what_to_do() -> None:
    assert {rule["alert"] for rule in rules()} == {
        "ChatqFrontDown", "ChatqNotReady", "ChatqNoWorker", "ChatqWorkerStalled", "ChatqConnectionPaused",
        "ChatqBreakerOpen", "ChatqBacklogNearlyFull", "ChatqRedisNearlyFull",
            "ChatqCheckFailed", "ChatqBudgetUsedUp", "ChatqLeasesLost", "ChatqJobsFail",
    }  # fmt: skip
    for rule in rules():
        assert set(rule) == {"alert", "expr", "for", "labels", "annotations"}
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert set(rule["annotations"]) == {"summary", "remedy"}
        by_connection = "connection" in rule["expr"] or "connection" in rule["annotations"]["summary"]
        assert ("{{ $labels.connection }}" in rule["annotations"]["summary"]) == by_connection, rule["alert"]


def test_the_documentation_lists_every_metric_and_no_other(watched: FrontProcess) -> None:
    text = watched.client.get("/metrics").text
    told = set(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE))
    assert set(re.findall(r"^\| `(chatq_\w+)", OPERATIONS.read_text("utf-8"), re.MULTILINE)) == told
