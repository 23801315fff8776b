"""Why a call failed, as one table: retries, texts and the reactions of a lane read it.

Source: design section 5. The class says who has to act: time (rate limited, transient), the owner of the account,
the sender of the request, or us.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NamedTuple

from chatq.contract.connection import Connection


class FailureClass(StrEnum):
    """What a failure asks for."""

    RATE_LIMITED = "rate_limited"
    """The lane cools down; the job keeps its attempt."""
    TRANSIENT = "transient"
    """The attempt is used up; the job is tried again after a pause."""
    ACCOUNT = "account"
    """Nothing on this connection can succeed until somebody acts."""
    REQUEST = "request"
    """This job can never succeed as it is."""
    OURS = "ours"
    """A bug of chatq."""


class FailureCode(NamedTuple):
    """A kind of failure: its class, and what to do about it when a job has failed for it."""

    kind: FailureClass
    remedy: str


CODES: Final[dict[str, FailureCode]] = {
    "rate_limited": FailureCode(
        FailureClass.RATE_LIMITED, "Wait, or lower the connection's limits to what the provider allows."
    ),
    "overloaded": FailureCode(
        FailureClass.RATE_LIMITED, "Wait until the provider has room again; see its status page."
    ),
    "connect_error": FailureCode(
        FailureClass.TRANSIENT,
        "Check that the provider's server runs and that the connection's url is right.",
    ),
    "timeout": FailureCode(
        FailureClass.TRANSIENT,
        "Raise the connection's timeout.total, or ask for a shorter answer (max_tokens).",
    ),
    "server_error": FailureCode(
        FailureClass.TRANSIENT, "See the provider's status page, then enqueue the job again."
    ),
    "bad_answer": FailureCode(
        FailureClass.TRANSIENT,
        "Check that the connection's url is that of an API, not of a web page or a proxy.",
    ),
    "answer_too_large": FailureCode(
        FailureClass.REQUEST, "Ask for a shorter answer (max_tokens), or raise bounds.answer_bytes."
    ),
    "unauthorized": FailureCode(
        FailureClass.ACCOUNT,
        "Check the key that the connection's api_key names; make a new one at the provider.",
    ),
    "key_missing": FailureCode(
        FailureClass.ACCOUNT, "Set the key that the connection's api_key names, and restart the workers."
    ),
    "quota_exhausted": FailureCode(
        FailureClass.ACCOUNT,
        "Add credit or raise the spending limit at the provider, then enqueue the job again.",
    ),
    "api_retired": FailureCode(
        FailureClass.ACCOUNT, "Use the API that the provider names; see docs/sources.md for the setting."
    ),
    "forbidden": FailureCode(
        FailureClass.REQUEST, "Ask for a model and content that the key is allowed to use."
    ),
    "not_found": FailureCode(
        FailureClass.REQUEST,
        "Check the model's name and the connection's url (does it need /v1 at its end?).",
    ),
    "model_not_found": FailureCode(
        FailureClass.REQUEST,
        "Choose a model that the key may use; chatq connections models lists them.",
    ),
    "wrong_url": FailureCode(
        FailureClass.REQUEST,
        "Check the connection's url: no API answers there. Try adding /v1 to its end, or taking it off.",
    ),
    "request_too_large": FailureCode(
        FailureClass.REQUEST, "Shorten the prompt, or choose a model with a larger context."
    ),
    "content_refused": FailureCode(
        FailureClass.REQUEST, "Change what the provider's content rules object to, or use another provider."
    ),
    "refused": FailureCode(
        FailureClass.REQUEST, "The provider says that trying again cannot help; correct what it names."
    ),
    "invalid_request": FailureCode(
        FailureClass.REQUEST, "Correct what the provider names, or choose a stricter post_processing mode."
    ),
    "redirected": FailureCode(
        FailureClass.REQUEST, "Redirects are not followed; write the final address as the connection's url."
    ),
    "internal": FailureCode(
        FailureClass.OURS, "This is a fault of chatq; please report it with the worker's log."
    ),
}


class CallFailed(Exception):
    """One attempt failed. Holds no key and nothing of the prompt.

    `message` is ours; `provider_message` the provider's own words. `retry_after_s`: the seconds after which the
    provider said to come back. `sent`: whether the request can have reached the provider.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        http_status: int | None = None,
        provider_message: str | None = None,
        provider_request_id: str | None = None,
        retry_after_s: float | None = None,
        remedy: str | None = None,
        sent: bool = True,
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.kind, default_remedy = CODES[code]
        self.message = message
        self.http_status = http_status
        self.provider_message = provider_message
        self.provider_request_id = provider_request_id
        self.retry_after_s = retry_after_s
        self.remedy = remedy or default_remedy
        self.sent = sent

    def remedy_at(self, connection: Connection) -> str:
        """What to do about it where this connection made the call."""
        if self.code == "unauthorized" and connection.api_key is None:
            return "The connection has no api_key, and the server asks for one: give it one in config.yaml."
        return self.remedy

    @property
    def retryable(self) -> bool:
        """Whether the same job can succeed later without being changed."""
        return self.kind is not FailureClass.REQUEST
