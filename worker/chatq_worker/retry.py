"""What becomes of a job whose call failed. Pure: the failure and the job's past in, the decision out.

Source: design section 5. The decision is what holds when the attempt is the job's own. Whether it is, or its lane's or
its account's trouble, the ledger finds by `outcome` (`ledger/shared/health.lua`); then the job waits again, uncounted.
Backoff with full jitter: Marc Brooker, "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015).
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

from chatq.contract.connection import Retry
from chatq.contract.states import State
from chatq.ledger.call_facts import Outcome
from chatq_worker.failures import CallFailed, FailureClass

FIRST_BACKOFF_S: Final = 1.0
LONGEST_BACKOFF_S: Final = 60.0
COOL_WITHOUT_WORD_S: Final = 1.0
"""How long a lane rests after a 429 that names no moment."""
MISSING: Final = frozenset({"not_found", "model_not_found", "wrong_url"})
"""Failures that are the job's when other jobs get through, and the connection's when none ever did."""

_OUTCOMES: Final[dict[FailureClass, Outcome]] = {
    FailureClass.RATE_LIMITED: "limited",
    FailureClass.TRANSIENT: "transient",
    FailureClass.ACCOUNT: "account",
    FailureClass.REQUEST: "request",
    FailureClass.OURS: "",
}


@dataclass(frozen=True, slots=True)
class Decision:
    """What to settle: the job's next state, whether the attempt counts, what it tells of lane and connection, seconds
    before the job may go again, and seconds in which the lane is not called."""

    state: State
    counted: bool
    outcome: Outcome = ""
    wait_s: float | None = None
    cool_s: float | None = None


def decide(
    failure: CallFailed,
    policy: Retry,
    *,
    counted_before: int,
    since_first_call_s: float,
    jitter: random.Random,
) -> Decision:
    """The decision for a failed call.

    `counted_before`: attempts that counted before this one. `since_first_call_s`: seconds since the job's first call,
    without those in which its lane cooled down or its connection was paused.
    """
    outcome: Outcome = "missing" if failure.code in MISSING else _OUTCOMES[failure.kind]
    if failure.kind not in {FailureClass.RATE_LIMITED, FailureClass.TRANSIENT}:
        return Decision(State.FAILED, counted=failure.sent, outcome=outcome)
    limited = failure.kind is FailureClass.RATE_LIMITED
    cool_s = (
        (COOL_WITHOUT_WORD_S if failure.retry_after_s is None else failure.retry_after_s) if limited else None
    )
    wait_s = failure.retry_after_s
    if wait_s is None or limited:
        wait_s = jitter.uniform(0, min(LONGEST_BACKOFF_S, FIRST_BACKOFF_S * 2**counted_before))
    if counted_before + 1 >= policy.max_attempts or since_first_call_s + wait_s > policy.max_elapsed:
        return Decision(State.FAILED, counted=True, outcome=outcome, cool_s=cool_s)
    return Decision(State.RETRYING, counted=True, outcome=outcome, wait_s=wait_s, cool_s=cool_s)
