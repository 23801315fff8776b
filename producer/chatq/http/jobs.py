"""`/v1/jobs`: our own jobs, with all that they have. Enqueue, read or wait for the record, cancel or delete."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Query, Request
from starlette.responses import Response

from chatq.contract.errors import InvalidJob, WaitTimeout
from chatq.contract.job import Job
from chatq.contract.record import JobRecord
from chatq.http.access import Caller
from chatq.http.errors import json_response
from chatq.http.front import Front, TheCaller, TheFront, read_json
from chatq.http.shapes import JobId, json_body

LONGEST_WAIT_S = 600.0

router = APIRouter(tags=["jobs"])


@router.post(
    "/v1/jobs",
    status_code=202,
    responses={202: {"model": JobRecord}, 200: {"model": JobRecord}},
    openapi_extra=json_body(Job),
)
async def enqueue_job(
    request: Request,
    front: TheFront,
    caller: TheCaller,
    idempotency_key: Annotated[str | None, Header(max_length=256)] = None,
) -> Response:
    """Enqueue a job. 202 and its record; 200 when the same job, under its id or idempotency key, is final already."""
    data = await read_json(request)
    if idempotency_key is not None:
        data.setdefault("idempotency_key", idempotency_key)
    record = await front.enqueue(claimed(Job.parse(data), front, caller), request)
    location = {"location": f"/v1/jobs/{record.id}"}
    return record_response(record, 200 if record.final else 202, location)


@router.get("/v1/jobs/{job_id}", responses={200: {"model": JobRecord}})
async def get_job(
    request: Request,
    front: TheFront,
    caller: TheCaller,
    job_id: JobId,
    wait: Annotated[float, Query(ge=0, le=LONGEST_WAIT_S, allow_inf_nan=False)] = 0,
) -> Response:
    """The record of a job; with `wait`, when it is final, or after so many seconds."""
    record = await front.record(job_id, caller)
    if wait and not record.final:
        with front.a_wait():
            try:
                record = await front.while_there(request, front.ask(front.core.wait(job_id, wait)))
            except WaitTimeout:
                record = await front.record(job_id, caller)
    return record_response(record)


@router.delete("/v1/jobs/{job_id}", responses={200: {"model": JobRecord}, 204: {"description": "Deleted."}})
async def delete_job(front: TheFront, caller: TheCaller, job_id: JobId) -> Response:
    """Cancel a job that is not final, and answer its record; delete what is known of a final one."""
    record = await front.record(job_id, caller)
    if not record.final:
        return record_response(await front.ask(front.core.cancel(job_id)))
    await front.ask(front.core.delete(job_id))
    return Response(status_code=204)


def claimed(job: Job, front: Front, caller: Caller) -> Job:
    """The job as the caller's own. Raises `InvalidJob` for another tenant's; `UnknownConnection` for a connection that
    is not theirs."""
    caller.must_know(job.connection, front.settings)
    if caller.tenant is None or job.tenant == caller.tenant:
        return job
    if job.tenant is not None:
        raise InvalidJob("tenant: it is not that of your token.", remedy="Leave it out.")
    return job.model_copy(update={"tenant": caller.tenant})


def record_response(record: JobRecord, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return json_response(record.model_dump(mode="json"), status, headers)
