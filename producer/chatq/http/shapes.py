"""The shapes of bodies, for the OpenAPI document. What is checked is checked by who reads them.

Source: OpenAI API reference: "Chat", "Batch", "Files", "Models", "Errors".
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from fastapi import Path
from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import models_json_schema

from chatq.contract.job import Job

REFERENCE: Final = "#/components/schemas/{model}"

JobId = Annotated[str, Path(max_length=200)]


class Shape(BaseModel):
    model_config = ConfigDict(extra="allow")


class ErrorFacts(Shape):
    message: str
    type: str
    param: str | None
    code: str | None
    remedy: str | None


class Error(Shape):
    error: ErrorFacts


class ChatMessage(Shape):
    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[dict[str, Any]] | None = None


class ChatCompletionRequest(Shape):
    model: Annotated[str, Field(min_length=1)]
    messages: list[ChatMessage]
    stream: bool | None = None


class ChatCompletion(Shape):
    id: str
    object: str
    created: int
    model: str
    choices: list[dict[str, Any]]
    usage: dict[str, Any] | None = None


class FileShape(Shape):
    id: str
    object: Literal["file"]
    bytes: int
    created_at: int
    filename: str
    purpose: str
    status: str
    expires_at: int | None


class FileList(Shape):
    object: Literal["list"]
    data: list[FileShape]
    first_id: str | None
    last_id: str | None
    has_more: bool


class FileDeleted(Shape):
    id: str
    object: Literal["file"]
    deleted: bool


class BatchBudgets(BaseModel):
    model_config = ConfigDict(extra="forbid")

    max_cost: Annotated[float, Field(gt=0, le=1e6)] | None = None
    max_tokens: Annotated[int, Field(gt=0, le=10**12)] | None = None


class BatchRequest(BatchBudgets):
    input_file_id: str
    endpoint: Literal["/v1/chat/completions"]
    completion_window: Annotated[str, Field(examples=["24h"])]
    metadata: dict[str, str] | None = None
    connection: str | None = None
    output_expires_after: dict[str, Any] | None = None
    webhook_url: str | None = None


class BatchShape(Shape):
    id: str
    object: Literal["batch"]
    endpoint: str
    errors: dict[str, Any] | None
    input_file_id: str
    completion_window: str
    status: str
    output_file_id: str | None
    error_file_id: str | None
    created_at: int
    expires_at: int
    in_progress_at: int | None
    finalizing_at: int | None
    completed_at: int | None
    failed_at: int | None
    expired_at: int | None
    cancelling_at: int | None
    cancelled_at: int | None
    request_counts: dict[str, int]
    metadata: dict[str, str] | None
    usage: dict[str, Any] | None
    cost_usd: float | None
    paused_at: int | None
    budget: dict[str, Any] | None
    retry_of: str | None


class BatchList(Shape):
    object: Literal["list"]
    data: list[BatchShape]
    first_id: str | None
    last_id: str | None
    has_more: bool


class Model(Shape):
    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class ModelList(Shape):
    object: Literal["list"]
    data: list[Model]


class ConnectionFacts(Shape):
    id: str
    object: Literal["connection"]
    source: str
    model: str | None


class ConnectionList(Shape):
    object: Literal["list"]
    data: list[ConnectionFacts]


class WholeStatus(Shape):
    ready: bool
    workers: int
    slots: int
    running: int
    waiting: int
    connections: dict[str, Any]


class Health(Shape):
    status: Literal["ok"]


class Hindrance(Shape):
    message: str
    remedy: str


class Readiness(Shape):
    ready: bool
    hindrances: list[Hindrance]


_BODIES: Final[tuple[type[BaseModel], ...]] = (Job, ChatCompletionRequest, BatchRequest, BatchBudgets)

UPLOAD_BODY: Final = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["purpose", "file"],
                    "properties": {
                        "purpose": {"type": "string", "enum": ["batch"]},
                        "file": {"type": "string", "format": "binary"},
                    },
                }
            }
        },
    }
}


def json_body(model: type[BaseModel], *, required: bool = True) -> dict[str, Any]:
    """The entry of an operation whose body is this model, read by ourselves."""
    schema = {"$ref": REFERENCE.format(model=model.__name__)}
    return {"requestBody": {"required": required, "content": {"application/json": {"schema": schema}}}}


def body_schemas() -> dict[str, Any]:
    """The schemas that `json_body` refers to."""
    _, schemas = models_json_schema([(model, "validation") for model in _BODIES], ref_template=REFERENCE)
    found: dict[str, Any] = schemas["$defs"]
    return found
