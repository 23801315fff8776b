"""What becomes of a job whose call failed. Pure: the failure and the job's past in, the decision out.

Source: design section 5, in its simplest honest form: an account failure fails the job.
Backoff with full jitter: Marc Brooker, "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015).
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

from chatq.contract.connection import Retry
from chatq.contract.states import State
from chatq_worker.failures import CallFailed, FailureClass

FIRST_BACKOFF_S: Final = 1.0
LONGEST_BACKOFF_S: Final = 60.0
COOL_WITHOUT_WORD_S: Final = 2.0
"""How long a lane rests after a 429 that names no moment."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What to settle: the job's next state, seconds before it may go again, whether the attempt counts, and seconds
    in which the lane is not called."""

    state: State
    counted: bool
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

    `counted_before`: attempts that counted before this one. `since_first_call_s`: seconds since the job's first call.
    """
    if failure.kind is FailureClass.RATE_LIMITED:
        cool_s = failure.retry_after_s if failure.retry_after_s is not None else COOL_WITHOUT_WORD_S
        return Decision(State.QUEUED, counted=False, cool_s=cool_s)
    if failure.kind is not FailureClass.TRANSIENT:
        return Decision(State.FAILED, counted=failure.sent)
    wait_s = failure.retry_after_s
    if wait_s is None:
        longest = min(LONGEST_BACKOFF_S, FIRST_BACKOFF_S * 2**counted_before)
        wait_s = jitter.uniform(0, longest)
    if counted_before + 1 >= policy.max_attempts or since_first_call_s + wait_s > policy.max_elapsed:
        return Decision(State.FAILED, counted=True)
    return Decision(State.RETRYING, counted=True, wait_s=wait_s)
