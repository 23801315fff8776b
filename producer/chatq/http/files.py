"""`/v1/files`: uploads, and the files of results. Source: OpenAI API reference, "Files"."""

from __future__ import annotations

import asyncio
import re
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Header, Path, Query, Request
from starlette.responses import FileResponse, Response

from chatq.http.download import Download
from chatq.http.errors import BadRequest, error_body, json_response
from chatq.http.front import TheCaller, TheFront, body_of
from chatq.http.shapes import UPLOAD_BODY, FileDeleted, FileList, FileShape
from chatq.http.upload import Upload

_PURPOSE: Final = "batch"
_MOST: Final = 10_000
SHORTEST_LIFE_S: Final = 3_600
LONGEST_LIFE_S: Final = 2_592_000

_RANGE: Final = re.compile(
    r"bytes=(?:(?P<first>\d{1,18})-(?P<last>\d{0,18})|-(?P<suffix>\d{1,18}))", re.ASCII
)
"""One range. Any other, and several of them, may be ignored. Source: RFC 9110, section 14.2."""

FileId = Annotated[str, Path(max_length=128)]

router = APIRouter(tags=["files"])


@router.post("/v1/files", responses={200: {"model": FileShape}}, openapi_extra=UPLOAD_BODY)
async def upload_file(request: Request, front: TheFront, caller: TheCaller) -> Response:
    """Upload a file for a batch: `purpose` is `batch`. `expires_after[seconds]`, from an hour to 30 days: when it is
    deleted by itself."""
    with front.files.writing() as (path, target):
        upload = Upload(
            request.headers.get("content-type", ""), target, int(front.settings.http.upload_bytes)
        )
        await upload.take(body_of(request))
        target.flush()
        if upload.filename is None:
            raise BadRequest(
                "The upload holds no file.", remedy="Send it as the form field `file`.", param="file"
            )
        if upload.fields.get("purpose") != _PURPOSE:
            raise BadRequest(
                "purpose: expected batch.",
                remedy="Files are taken as the input of batches only.",
                param="purpose",
            )
        stored = await asyncio.to_thread(
            front.files.keep,
            path,
            filename=upload.filename,
            purpose=_PURPOSE,
            tenant=caller.tenant,
            expires_after_s=_life(upload),
        )
    return json_response(stored.shape())


@router.get("/v1/files", responses={200: {"model": FileList}})
async def list_files(
    front: TheFront,
    caller: TheCaller,
    purpose: str | None = None,
    limit: Annotated[int, Query(ge=1, le=_MOST)] = _MOST,
    order: Literal["asc", "desc"] = "desc",
    after: str | None = None,
) -> Response:
    """Files, the newest first; `after`: the last id of the page before."""
    found, more = await asyncio.to_thread(
        front.files.page, caller, after=after, limit=limit, newest_first=order == "desc", purpose=purpose
    )
    return json_response(page_shape([stored.shape() for stored in found], more))


@router.get("/v1/files/{file_id}", responses={200: {"model": FileShape}})
async def get_file(front: TheFront, caller: TheCaller, file_id: FileId) -> Response:
    """What is known of a file."""
    return json_response((await asyncio.to_thread(front.files.get, file_id, caller)).shape())


@router.delete("/v1/files/{file_id}", responses={200: {"model": FileDeleted}})
async def delete_file(front: TheFront, caller: TheCaller, file_id: FileId) -> Response:
    """Delete a file. A batch that was made of it has what it needs."""
    await asyncio.to_thread(front.files.get, file_id, caller)
    await asyncio.to_thread(front.files.delete, file_id)
    return json_response({"id": file_id, "object": "file", "deleted": True})


@router.get(
    "/v1/files/{file_id}/content",
    responses={
        200: {"content": {"application/octet-stream": {}}},
        206: {
            "description": "The part that the Range header asks for.",
            "content": {"application/octet-stream": {}},
        },
    },
    response_class=FileResponse,
)
async def file_content(
    request: Request,
    front: TheFront,
    caller: TheCaller,
    file_id: FileId,
    part: Annotated[str | None, Header(alias="range", examples=["bytes=0-99"])] = None,
) -> Response:
    """The bytes of a file, or one range of them."""
    stored = await asyncio.to_thread(front.files.get, file_id, caller)
    if part is not None:
        asked = _RANGE.fullmatch(part.strip())
        if asked is None or _is_backwards(asked):
            # Starlette would refuse it, in words that are no JSON, or send several parts.
            request.scope["headers"] = [one for one in request.scope["headers"] if one[0] != b"range"]
        elif _is_beyond(asked, stored.bytes):
            body = error_body(
                416, "invalid_request", "The file has no such part.", f"It has {stored.bytes:,} bytes."
            )
            return json_response(body, 416, {"content-range": f"bytes */{stored.bytes}"})
    return await asyncio.to_thread(Download, front.files, stored)


def _is_backwards(asked: re.Match[str]) -> bool:
    return bool(asked["last"]) and int(asked["last"]) < int(asked["first"])


def _is_beyond(asked: re.Match[str], length: int) -> bool:
    if asked["suffix"]:
        return length == 0 or int(asked["suffix"]) == 0
    return int(asked["first"]) >= length


def page_shape(data: list[dict[str, object]], more: bool) -> dict[str, object]:
    """A page of a list in OpenAI's shape."""
    return {
        "object": "list",
        "data": data,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": more,
    }


def _life(upload: Upload) -> int | None:
    seconds, anchor = upload.fields.get("expires_after[seconds]"), upload.fields.get("expires_after[anchor]")
    if seconds is None and anchor is None:
        return None
    if anchor not in (None, "created_at"):
        raise BadRequest(
            "expires_after.anchor: expected created_at.", remedy="Correct it.", param="expires_after"
        )
    if not (seconds or "").isdecimal() or not SHORTEST_LIFE_S <= int(seconds or 0) <= LONGEST_LIFE_S:
        raise BadRequest(
            f"expires_after.seconds: expected {SHORTEST_LIFE_S} to {LONGEST_LIFE_S}.",
            remedy="Correct it; or leave it out, and the file stays until it is deleted.",
            param="expires_after",
        )
    return int(seconds or 0)
