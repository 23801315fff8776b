"""What waited and ran in the last hour: a sample a minute, for an hour, of connections that the settings have."""

from __future__ import annotations

from collections.abc import Sequence

from ledger_driver import LedgerDriver

from chatq.ledger.backlog_history import BacklogSample


def both(ledger: LedgerDriver) -> None:
    """The settings have two connections, and a worker keeps time."""
    ledger.publish({"account:alpha": "alpha", "account:beta": "beta", "connections": 2})
    ledger.worker()


def backlog(ledger: LedgerDriver, name: str = "alpha") -> Sequence[BacklogSample]:
    return ledger.run(ledger.ledger.backlogs([name]))[name]


def test_a_sample_is_taken_once_a_minute(ledger: LedgerDriver) -> None:
    both(ledger)
    ledger.tick()
    ledger.add_many(3)
    ledger.pass_s(59)
    ledger.tick()
    assert backlog(ledger) == [BacklogSample(0, 0, 0)]
    ledger.pass_s(1)
    ledger.start(most=1)
    ledger.tick()
    assert backlog(ledger) == [BacklogSample(1, 0, 0), BacklogSample(0, 2, 1)]
    assert backlog(ledger, "beta") == [BacklogSample(1, 0, 0), BacklogSample(0, 0, 0)]


def test_an_hour_is_kept_of_it(ledger: LedgerDriver) -> None:
    both(ledger)
    for _ in range(70):
        ledger.renew()
        ledger.tick()
        ledger.add()
        ledger.pass_s(60)
    ledger.tick()
    samples = backlog(ledger)
    assert samples[0] == BacklogSample(59, 11, 0)
    assert samples[-1] == BacklogSample(0, 70, 0)
    assert len(samples) == 60
    assert ledger.client.hlen("t:backlog:alpha") == 60


def test_minutes_in_which_nobody_kept_time_have_none(ledger: LedgerDriver) -> None:
    both(ledger)
    ledger.tick()
    ledger.pass_s(30 * 60)
    ledger.worker("w2")
    ledger.tick("w2")
    assert [sample.minutes_ago for sample in backlog(ledger)] == [30, 0]


def test_what_is_older_than_an_hour_is_not_told(ledger: LedgerDriver) -> None:
    both(ledger)
    ledger.tick()
    ledger.pass_s(60 * 60)
    assert backlog(ledger) == []


def test_it_goes_by_itself_an_hour_after_the_last_sample(ledger: LedgerDriver) -> None:
    both(ledger)
    ledger.tick()
    assert 0 < ledger.client.pttl("t:backlog:alpha") <= 3_600_000


def test_only_connections_of_the_settings_have_one(ledger: LedgerDriver) -> None:
    ledger.worker("w0")
    ledger.add("callers-may-name-anything")
    ledger.tick("w0")
    assert not [key for key in ledger.everything() if key.startswith("backlog:")]
    both(ledger)
    ledger.tick("w0")
    assert {key for key in ledger.everything() if key.startswith("backlog:")} == {
        "backlog:alpha",
        "backlog:beta",
    }
