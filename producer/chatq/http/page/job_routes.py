"""`/jobs/ID`: what is known of a job, and why it waits. Its answer is shown when it is asked for."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Query, Request
from starlette.responses import RedirectResponse, Response

from chatq.contract.keys import JOB_ID
from chatq.http.front import TheFront
from chatq.http.page.page_route import PageRoute
from chatq.http.page.rendering import page
from chatq.http.page.visit import TheForm, TheSession, came_of_it
from chatq.http.shapes import JobId

router = APIRouter(include_in_schema=False, route_class=PageRoute)


@router.get("/jobs")
async def find_job(
    session: TheSession, job_id: Annotated[str, Query(alias="id", max_length=200)] = ""
) -> Response:
    """Asks for an id, and leads to the job."""
    wanted = job_id.strip()
    if JOB_ID.fullmatch(wanted):
        return RedirectResponse(f"/jobs/{quote(wanted, safe='')}", 303)
    return page("jobs.html", 400 if wanted else 200, session=session, wanted=wanted)


@router.get("/jobs/{job_id}")
async def job(front: TheFront, session: TheSession, job_id: JobId, answer: str = "") -> Response:
    """The record of a job. What stands in its way is said to the operator: it may be others' jobs."""
    record = await front.record(job_id, session.caller)
    why = None
    if not record.final and session.caller.sees_all:
        why = await front.ask(front.core.why(job_id))
    return page(
        "job.html",
        session=session,
        record=record,
        why=why,
        shows_answer=answer == "shown",
        now=datetime.now(UTC),
    )


@router.post("/jobs/{job_id}/cancel")
async def cancel(
    request: Request, front: TheFront, session: TheSession, _form: TheForm, job_id: JobId
) -> Response:
    """Cancels it."""
    await front.record(job_id, session.caller)
    record = await front.ask(front.core.cancel(job_id))
    what = "The job is cancelled." if record.final else "The job is asked to stop."
    return came_of_it(request, f"/jobs/{quote(job_id, safe='')}", "said.html", what=what, more="")
