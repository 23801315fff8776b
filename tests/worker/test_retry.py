"""What becomes of a job whose call failed."""

from __future__ import annotations

import random

from chatq.contract.connection import Retry
from chatq.contract.states import State
from chatq.ledger.call_facts import Outcome
from chatq_worker.failures import CODES, CallFailed, FailureClass
from chatq_worker.retry import Decision, decide
from for_each import for_each


def decided(
    failure: CallFailed,
    *,
    counted_before: int = 0,
    since_first_call_s: float = 0.0,
    policy: Retry | None = None,
) -> Decision:
    return decide(
        failure,
        policy or Retry(),
        counted_before=counted_before,
        since_first_call_s=since_first_call_s,
        jitter=random.Random(1),
    )


def test_a_rate_limit_cools_the_lane_for_the_time_named() -> None:
    decision = decided(CallFailed("rate_limited", "429", retry_after_s=40.0))
    assert (decision.outcome, decision.cool_s) == ("limited", 40.0)
    assert decided(CallFailed("overloaded", "529")).cool_s == 1.0


def test_where_a_rate_limit_is_the_jobs_own_trouble_it_is_tried_again_like_after_any_passing_failure() -> (
    None
):
    decision = decided(CallFailed("rate_limited", "429", retry_after_s=40.0), counted_before=4)
    assert (decision.state, decision.counted) == (State.RETRYING, True)
    assert decision.wait_s is not None
    assert 0 <= decision.wait_s <= 16
    assert decided(CallFailed("rate_limited", "429"), counted_before=5).state is State.FAILED


def test_a_transient_failure_counts_and_waits_longer_each_time() -> None:
    failure = CallFailed("server_error", "500")
    for counted_before, longest_s in ((0, 1.0), (1, 2.0), (4, 16.0)):
        decision = decided(failure, counted_before=counted_before)
        assert decision.state is State.RETRYING
        assert decision.counted
        assert decision.wait_s is not None
        assert 0 <= decision.wait_s <= longest_s


def test_the_wait_that_a_provider_names_is_kept() -> None:
    assert decided(CallFailed("server_error", "503", retry_after_s=7.5)).wait_s == 7.5


def test_the_last_attempt_fails_the_job() -> None:
    policy = Retry(max_attempts=3)
    assert decided(CallFailed("timeout", "t"), counted_before=1, policy=policy).state is State.RETRYING
    assert decided(CallFailed("timeout", "t"), counted_before=2, policy=policy).state is State.FAILED


def test_no_attempt_begins_after_max_elapsed() -> None:
    policy = Retry(max_elapsed=100.0)
    assert decided(CallFailed("timeout", "t"), since_first_call_s=100.5, policy=policy).state is State.FAILED


@for_each("code", [code for code, (kind, _) in CODES.items() if kind is FailureClass.REQUEST])
def test_a_request_that_can_never_succeed_fails_at_once(code: str) -> None:
    outcome: Outcome = "missing" if code in {"not_found", "model_not_found", "wrong_url"} else "request"
    assert decided(CallFailed(code, "x")) == Decision(State.FAILED, counted=True, outcome=outcome)


def test_a_call_that_was_never_sent_counts_no_attempt() -> None:
    decision = decided(CallFailed("key_missing", "x", sent=False))
    assert decision == Decision(State.FAILED, counted=False, outcome="account")


def test_a_fault_of_ours_tells_nothing_of_the_provider() -> None:
    assert decided(CallFailed("internal", "x")) == Decision(State.FAILED, counted=True)


def test_every_code_says_what_to_do() -> None:
    assert all(remedy.endswith(".") for _, remedy in CODES.values())
