"""What a status check finds out, told apart for real: each state from a server that does just that."""

from __future__ import annotations

import json

import pytest
from installation import Installation, until
from odd_provider import LONG_LIST, PAGES, OddProvider
from source_installation import DIALECT_OF, NAMES, SourceInstallation, canary_of, model_of, rows

from chatq import ChatQueue
from chatq.contract.errors import NoWorker
from for_each import for_each

NO_LIST = frozenset({"perplexity-sonar"})
KNOWS_MONEY = frozenset({"deepseek", "fireworks", "electronhub", "perplexity-sonar"})
"""Their check is a balance or a chat; a list of models alone says nothing about money."""


@for_each("source", [name for name in NAMES if name.partition("-")[0] != "custom"])
def test_a_good_connection_is_ok_and_its_models_are_listed(sources: SourceInstallation, source: str) -> None:
    outcome = sources.queue.check(source)
    assert (outcome.state, outcome.bypassed) == ("no_model_list" if source in NO_LIST else "ok", False)
    assert outcome.remedy is None
    assert outcome.latency_s is not None
    assert 0 < outcome.latency_s < 30
    assert any(
        model.endswith(model_of(source)) or model.startswith(model_of(source)) for model in outcome.models
    ) != (source in NO_LIST)


@for_each("variant", rows(name for name in NAMES if name.startswith("custom")))
def test_a_server_of_ones_own_is_ok_with_or_without_a_list(sources: SourceInstallation, variant: str) -> None:
    assert sources.queue.check(variant).state in {"ok", "no_model_list"}


@for_each("source", rows(NAMES))
def test_a_wrong_key_is_unauthorized_and_not_shown(sources: SourceInstallation, source: str) -> None:
    outcome = sources.queue.check(f"wrong-{source}")
    assert outcome.state == "unauthorized"
    assert outcome.models == []
    assert "api_key" in (outcome.remedy or "")
    assert canary_of(source, wrong=True)[3:9] not in outcome.model_dump_json()


@for_each("source", [name for name in NAMES if name.partition("-")[0] != "custom"])
def test_an_account_without_money_is_quota_exhausted_where_the_check_can_know(
    sources: SourceInstallation, source: str
) -> None:
    key = {"source": DIALECT_OF[source], "key": canary_of(source)}
    sources.simulator.control("POST", "keys", {**key, "state": "out_of_quota"})
    try:
        outcome = sources.queue.check(source)
    finally:
        sources.simulator.control("POST", "keys", {**key, "state": "valid"})
    assert outcome.state == ("quota_exhausted" if source in KNOWS_MONEY else "ok")


@pytest.mark.thorough
@for_each(
    ("connection", "state", "message", "remedy"),
    [
        ("odd-good", "ok", "", None),
        ("odd-no-list", "no_model_list", "no list of models", None),
        ("no-key", "unauthorized", "TEST_NO_SUCH_KEY is not set", "Set TEST_NO_SUCH_KEY"),
        ("empty-key", "unauthorized", "TEST_EMPTY_KEY is not set", "Set TEST_EMPTY_KEY"),
        ("newline-key", "unauthorized", "no key of printable characters", "Correct env:TEST_NEWLINE_KEY"),
        ("file-missing", "unauthorized", "No such file", "Put the key into"),
        ("file-readable", "unauthorized", "can be read by others", "chmod 600"),
        ("file-empty", "unauthorized", "no key of printable characters", "Correct file:"),
        ("file-two-lines", "unauthorized", "no key of printable characters", "Correct file:"),
        ("file-good", "ok", "", None),
        ("asked-for-a-key", "unauthorized", "401", "has no api_key"),
        ("wrong-path", "not_found", "404", "/v1"),
        ("odd-redirect", "not_found", "307", "final address"),
        ("refused", "unreachable", "Connection refused", "server runs"),
        ("unknown-host", "unreachable", "no address is known for no-such-host.invalid", "DNS"),
        (
            "unknown-certificate",
            "unreachable",
            "TLS certificate is not accepted: self-signed",
            "SSL_CERT_FILE",
        ),
        ("no-tls", "unreachable", "No TLS connection", "http://"),
        ("odd-silent", "timeout", "within 0.3 s", "timeout"),
        ("odd-html", "bad_answer", "a web page", "url"),
        ("odd-nan", "bad_answer", "not JSON", "url"),
        ("odd-bad-utf8", "bad_answer", "not JSON", "url"),
        ("odd-deep", "bad_answer", "not JSON", "url"),
        ("odd-huge", "bad_answer", "larger than 8,388,608 bytes", "bounds.answer_bytes"),
        ("odd-bomb", "bad_answer", "larger than 8,388,608 bytes", "bounds.answer_bytes"),
        ("odd-not-gzip", "bad_answer", "not compressed as it says", "url"),
        ("odd-half-gzip", "bad_answer", "cut off", "url"),
        ("odd-brotli", "bad_answer", "was not asked for", "url"),
    ],
)
def test_each_way_to_be_wrong_has_its_state_its_words_and_its_remedy(
    sources: SourceInstallation, connection: str, state: str, message: str, remedy: str | None
) -> None:
    outcome = sources.queue.check(connection)
    assert (outcome.connection, outcome.state) == (connection, state), outcome
    assert message in outcome.message
    assert (remedy is None) == (outcome.remedy is None)
    assert (remedy or "") in (outcome.remedy or "")


@pytest.mark.parametrize(
    ("connection", "place", "state"),
    [
        ("without-v1", "good", "not_found"),
        ("without-v1-of-openai", "good", "not_found"),
        ("page-without-v1", "page-beside-v1", "bad_answer"),
    ],
)
def test_a_url_whose_v1_answers_is_told_so(
    sources: SourceInstallation, odd: OddProvider, connection: str, place: str, state: str
) -> None:
    outcome = sources.queue.check(connection)
    assert (outcome.state, outcome.remedy) == (
        state,
        f"Write the connection's url as {odd.url}/{place}/v1 - an API answers there.",
    )


def test_a_bypassed_connection_is_not_asked_and_its_jobs_run(
    sources: SourceInstallation, odd: OddProvider
) -> None:
    before = len(odd.asked)
    outcome = sources.queue.check("bypassed")
    assert (outcome.state, outcome.bypassed, outcome.models, outcome.latency_s) == (
        "bypassed",
        True,
        [],
        None,
    )
    assert len(odd.asked) == before
    assert sources.run("bypassed", "Say hi").state == "succeeded"


def test_a_model_that_the_list_does_not_have_gets_the_nearest_ones(sources: SourceInstallation) -> None:
    outcome = sources.queue.check("typo-in-model")
    assert outcome.state == "ok"
    assert "gpt-5-mni" in outcome.message
    assert "nearest of the list: gpt-5-mini." in (outcome.remedy or "")


def test_a_job_whose_model_does_not_exist_gets_the_nearest_ones(sources: SourceInstallation) -> None:
    sources.queue.check("mistralai")
    error = sources.run("mistralai", "Say hi", model="mistral-medium-3.6").error
    assert error is not None
    assert error.code == "model_not_found"
    assert "The nearest of the list: mistral-medium-3.5" in error.remedy


@pytest.mark.thorough
def test_a_list_of_100_000_models_is_bounded(sources: SourceInstallation) -> None:
    outcome = sources.queue.check("odd-long-list")
    assert outcome.state == "ok"
    assert len(outcome.models) == 10_000 < LONG_LIST
    assert sources.queue.models("odd-long-list") == outcome.models


def test_the_pages_of_a_list_are_followed(sources: SourceInstallation) -> None:
    assert sources.queue.check("odd-pages").models == [f"claude-{number + 1}" for number in range(PAGES)]


@pytest.mark.thorough
def test_a_list_that_never_ends_is_given_up_after_fifty_pages(
    sources: SourceInstallation, odd: OddProvider
) -> None:
    before = len(odd.asked_below("endless-pages"))
    assert len(sources.queue.check("odd-endless-pages").models) == 50
    assert len(odd.asked_below("endless-pages")) - before == 50


def test_the_outcome_is_in_redis_for_everybody(sources: SourceInstallation) -> None:
    outcome = sources.queue.check("odd-good")
    stored = json.loads(sources.redis.get("chatq:status:odd-good"))
    assert set(stored) == {
        "connection", "source", "state", "models", "latency_s", "checked_at", "bypassed", "message",
    }  # fmt: skip
    assert stored["models"] == ["m", "gpt-5-mini", "other"]
    assert stored["checked_at"].endswith("Z")
    assert sources.queue.status("odd-good") == outcome


def test_an_outcome_that_asks_for_something_has_a_remedy_and_the_same_other_keys(
    sources: SourceInstallation,
) -> None:
    sources.queue.check("no-key")
    stored = json.loads(sources.redis.get("chatq:status:no-key"))
    assert set(stored) == {
        "connection", "source", "state", "models", "latency_s", "checked_at", "bypassed", "message", "remedy",
    }  # fmt: skip


def test_a_worker_checks_every_connection_when_it_starts(sources: SourceInstallation) -> None:
    names = list(sources.queue.settings().connections)
    until(
        lambda: sources.redis.exists(*(f"chatq:status:{name}" for name in names)) == len(names),
        "a status of every connection",
    )


@pytest.mark.thorough
def test_a_connection_that_was_mended_is_checked_again_by_the_next_worker(
    tmp_path_factory: pytest.TempPathFactory, odd: OddProvider
) -> None:
    wrong = {"own": {"source": "custom", "url": f"{odd.url}/no-such/place", "model": "m"}}
    with Installation(tmp_path_factory.mktemp("mended"), connections=wrong) as mended:
        mended.start_worker()
        until(lambda: mended.queue.status("own").state == "not_found", "the first worker's check")
        mended.config.write_text(mended.config.read_text().replace("/no-such/place", "/good/v1"))
        mended.start_worker()
        until(lambda: mended.queue.status("own").state == "ok", "the second worker's check")


def test_a_connection_that_was_never_checked_is_unknown(tmp_path_factory: pytest.TempPathFactory) -> None:
    with Installation(tmp_path_factory.mktemp("idle")) as idle:
        outcome = idle.queue.status("sim")
        assert (outcome.state, outcome.checked_at) == ("unknown", None)
        assert "chatq connections check sim" in (outcome.remedy or "")
        with pytest.raises(NoWorker, match="No worker is alive"):
            idle.queue.check("sim", timeout=5)
        with pytest.raises(NoWorker):
            idle.queue.models("sim", timeout=5)
        ended = idle.command("connections", "check", "sim")
        assert ended.returncode == 1
        assert "chatq worker" in ended.stderr


def test_a_caller_that_knows_only_redis_can_ask(sources: SourceInstallation) -> None:
    with ChatQueue(redis_url=sources.url) as queue:
        assert queue.check("odd-good").state == "ok"
        assert queue.models("odd-good") == ["m", "gpt-5-mini", "other"]
        assert queue.test_message("odd-good").state == "succeeded"
