"""What scripts write for readers: records, moments and key names, as the contract says."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import orjson
import pytest
import redis
from ledger_driver import LedgerDriver, attempt

from chatq.contract.keys import Keys
from chatq.contract.record import JobRecord, rfc3339
from chatq.ledger.script_text import linked

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
CENTURY_MS = 4_102_444_800_000
STRANGE = [
    '"',
    "\\",
    '\\"',
    "line\nbreak\ttab\r",
    "\x00\x1f\x7f",
    "ü日本\U0001f600",
    "\u2028\u2029",
    "]}{[",
    "'--",
    "a" * 256,
]


def prelude(client: redis.Redis, code: str, *arguments: object) -> list[bytes]:
    """What Lua code gives that stands behind what all scripts share."""
    found: list[bytes] = client.eval(linked(code), 1, "t", *arguments)
    return found


@pytest.mark.parametrize("text", STRANGE)
def test_a_record_is_json_whatever_custom_id_and_metadata_hold(ledger: LedgerDriver, text: str) -> None:
    ledger.run(ledger.ledger.open_batch("b", {text: text}, 60))
    job_id = ledger.add(batch="b", custom_id=text, metadata={text: text})
    waiting = ledger.record(job_id)
    ledger.worker()
    ledger.settle(ledger.start()[0])
    final = ledger.record(job_id)
    assert (waiting.custom_id, waiting.metadata) == (text, {text: text})
    assert (final.custom_id, final.metadata) == (text, {text: text})
    assert ledger.enqueue(ledger.entry(custom_id=text, metadata={}), batch="b").jobs == [("same", job_id)]


def test_what_metadata_say_is_read_whole_however_long_it_is(ledger: LedgerDriver) -> None:
    """Scripts read the front of a job's entry first; its parts may end before, at, or behind the end of that."""
    texts = {ledger.add(metadata={"a": "ü" * length}): "ü" * length for length in (*range(440, 475), 5000)}
    fronts = [ledger.everything()[f"entry:{job_id}"].encode().rindex(b"\x1e") for job_id in texts]
    assert 1023 in fronts or 1024 in fronts
    assert min(fronts) < 1023
    assert max(fronts) > 8192
    assert {job_id: ledger.record(job_id).metadata["a"] for job_id in texts} == texts
    ledger.worker()
    requests = {job.job_id: ledger.begun(job).request for job in ledger.admit()}
    assert requests == dict.fromkeys(
        texts, b'{"connection":"alpha","messages":[{"content":"Say hi","role":"user"}]}'
    )


def test_a_waiting_record_has_every_field_of_the_interface(ledger: LedgerDriver) -> None:
    [raw] = ledger.run(ledger.ledger.read([ledger.add(metadata={"a": "b"})]))
    assert raw is not None
    assert orjson.loads(raw) == {
        "id": "j1",
        "connection": "alpha",
        "state": "queued",
        "attempts": [],
        "created_at": "2027-01-15T08:00:00.000Z",
        "started_at": None,
        "finished_at": None,
        "warnings": [],
        "metadata": {"a": "b"},
    }


def test_a_final_record_is_readable_without_us_and_never_changes(ledger: LedgerDriver) -> None:
    job_id = ledger.add()
    ledger.worker()
    ledger.pass_s(1)
    [job] = ledger.start()
    ledger.pass_s(2.5)
    ledger.settle(job)
    plain = ledger.client.get(f"t:result:{job_id}")
    assert plain is not None
    record = orjson.loads(plain)
    assert list(record) == [
        "id", "connection", "state", "attempts", "created_at", "started_at", "finished_at", "warnings",
        "result", "metadata",
    ]  # fmt: skip
    assert record["attempts"] == [
        {
            "number": 1,
            "started_at": "2027-01-15T08:00:01.000Z",
            "ended_at": "2027-01-15T08:00:03.500Z",
            "connection": "alpha",
            "http_status": 200,
            "error_code": None,
            "counted": True,
            "maybe_charged": False,
        }
    ]
    ledger.run(ledger.ledger.cancel(job_id))
    ledger.settle(job, "failed")
    assert ledger.client.get(f"t:result:{job_id}") == plain
    assert ledger.run(ledger.ledger.read([job_id])) == [plain]


def test_the_models_of_the_contract_write_a_record_as_the_ledger_does(ledger: LedgerDriver) -> None:
    job_id = ledger.add(metadata={"a": "b"})
    ledger.worker()
    ledger.settle(ledger.start()[0])
    raw = ledger.client.get(f"t:result:{job_id}")
    assert raw is not None
    assert orjson.loads(JobRecord.model_validate_json(raw).model_dump_json()) == orjson.loads(raw)


def test_of_many_refused_attempts_the_youngest_are_kept_and_those_that_counted_or_cost(
    real_ledger: LedgerDriver,
) -> None:
    job_id = real_ledger.add()
    real_ledger.worker("dies")
    real_ledger.start()
    real_ledger.run(real_ledger.ledger.drain("dies", leave=True))
    real_ledger.worker()
    refused = attempt(code='"rate_limited"', status="429")
    [job] = real_ledger.fail(real_ledger.start()[0], wait_s=0).admitted
    for _ in range(200):
        real_ledger.begin(job)
        [job] = real_ledger.settle(job, "queued", attempt=refused).admitted
    record = real_ledger.record(job_id)
    numbers = [item.number for item in record.attempts]
    assert numbers == [1, 2, *range(numbers[2], 203)]
    assert [item.error_code for item in record.attempts[:3]] == [
        "worker_lost",
        "server_error",
        "rate_limited",
    ]
    assert 60 < len(numbers) < 110


def test_reading_keeps_the_order_and_says_what_is_not_there(ledger: LedgerDriver) -> None:
    ledger.add_many(2)
    ledger.run(ledger.ledger.cancel("j1"))
    found = ledger.run(ledger.ledger.read(["j2", "nobody", "j1"]))
    assert [raw and orjson.loads(raw)["state"] for raw in found] == ["queued", None, "cancelled"]


def test_lua_and_python_write_the_same_moments(client: redis.Redis) -> None:
    """2,000 at random between 1970 and 2100, and the turns of every year and leap day."""
    chance = random.Random(1)
    moments = [chance.randrange(CENTURY_MS) for _ in range(2000)]
    for year in range(1970, 2101):
        for month, day in ((1, 1), (2, 28), (3, 1), (12, 31)):
            start = round((datetime(year, month, day, tzinfo=UTC) - EPOCH) / timedelta(milliseconds=1))
            moments += [start, start + 86_399_999]
    code = "local found = {} for i, ms in ipairs(ARGV) do found[i] = rfc3339(tonumber(ms)) end return found"
    written = prelude(client, code, *moments)
    assert [text.decode() for text in written] == [
        f'"{rfc3339(EPOCH + timedelta(milliseconds=moment))}"' for moment in moments
    ]


def test_the_contract_names_the_keys_that_the_scripts_use(client: redis.Redis) -> None:
    keys = Keys("t")
    code = """return {KICK, RULES, WORKERS, P .. ':settings', P .. ':clock-offset', key('job', 'x'), key('result', 'x'),
      key('batch', 'x'), key('worker', 'x'), key('done', 'x'), key('deltas', 'x'), key('batch-done', 'x'),
      key('cancels', 'x')}"""
    assert [name.decode() for name in prelude(client, code)] == [
        keys.kick, keys.rules, keys.workers, keys.settings, keys.clock_offset, keys.job("x"), keys.result("x"),
        keys.batch("x"), keys.worker("x"), keys.done("x"), keys.deltas("x"), keys.batch_done("x"), keys.cancels("x"),
    ]  # fmt: skip


def test_the_keys_of_the_contract_are_the_keys_that_are_written(ledger: LedgerDriver) -> None:
    """So that a renamed key is found even when both spellings above were changed."""
    keys = ledger.ledger.keys
    ledger.run(ledger.ledger.open_batch("b", {}, 60))
    ledger.run(ledger.ledger.publish("d", b"{}", {"keep_ms": 1}))
    ledger.worker()
    ledger.run(ledger.ledger.cancel(ledger.add(batch="b")))
    expected = {
        keys.job("j1"), keys.result("j1"), keys.batch("b"), keys.worker("w1"), keys.workers, keys.rules, keys.settings,
        keys.clock_offset,
    }  # fmt: skip
    assert expected <= {f"t:{name}" for name in ledger.everything()}
