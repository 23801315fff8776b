"""The body of an upload, `multipart/form-data`, to the disk as it comes.

Source: RFC 7578; OpenAI API reference, "Upload file".
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, BinaryIO, Final

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from chatq.http.errors import BadRequest
from chatq.http.file_store import disk_errors

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

_MOST_PARTS: Final = 100
_LONGEST_FIELD: Final = 10_000
_WRITTEN_AT_ONCE: Final = 1 << 20


class Upload:
    """What an upload holds. The part `file` goes to `target`, the others are short."""

    def __init__(self, content_type: str, target: BinaryIO, longest: int) -> None:
        """Raises `BadRequest` when the body is no upload. `longest`: the largest file that is taken."""
        kind, options = parse_options_header(content_type)
        boundary = options.get(b"boundary")
        if kind != b"multipart/form-data" or not boundary:
            raise BadRequest(
                "The upload is not multipart/form-data.",
                remedy="Send the file as the form field `file`.",
                status=415,
            )
        self.fields: dict[str, str] = {}
        self.filename: str | None = None
        """None: no file has come."""
        self.ended = False
        self._target = target
        self._longest = longest
        self._taken = 0
        self._parts = 0
        self._headers: dict[bytes, bytes] = {}
        self._header = (bytearray(), bytearray())
        self._field: str | None = None
        self._value = bytearray()
        self._held = bytearray()
        callbacks: MultipartCallbacks = {
            "on_part_begin": self._part_begins,
            "on_header_field": lambda data, start, end: self._header[0].extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._header[1].extend(data[start:end]),
            "on_header_end": self._header_ends,
            "on_headers_finished": self._headers_end,
            "on_part_data": self._data,
            "on_part_end": self._part_ends,
            "on_end": self._ends,
        }
        self._parser = MultipartParser(boundary, callbacks)

    async def take(self, body: AsyncIterator[bytes]) -> None:
        """Read all of it. Raises `BadRequest`, `DiskFull`."""
        async for piece in body:
            try:
                self._parser.write(piece)
            except FormParserError:
                raise _broken() from None
            if len(self._held) >= _WRITTEN_AT_ONCE:
                await self._write()
        if not self.ended:
            raise _broken()
        await self._write()

    async def _write(self) -> None:
        held, self._held = self._held, bytearray()
        with disk_errors():
            await asyncio.to_thread(self._target.write, held)

    def _part_begins(self) -> None:
        self._headers, self._field = {}, None
        self._value = bytearray()

    def _header_ends(self) -> None:
        name, value = self._header
        self._headers[bytes(name).lower()] = bytes(value)
        self._header = (bytearray(), bytearray())

    def _headers_end(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        self._field = options.get(b"name", b"").decode(errors="replace")
        if self._field == "file":
            if self.filename is not None:
                raise BadRequest(
                    "The upload holds more than one file.", remedy="Upload one at a time.", param="file"
                )
            name = (
                options.get(b"filename", b"").decode(errors="replace").replace("\\", "/").rpartition("/")[2]
            )
            self.filename = "".join(one for one in name if one.isprintable())[:255] or "upload.jsonl"
        self._parts += 1
        if self._parts > _MOST_PARTS:
            raise _broken()

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._field == "file":
            self._taken += end - start
            if self._taken > self._longest:
                raise BadRequest(
                    f"The file has more than {self._longest:,} bytes.",
                    remedy="Split it; or raise http.upload_bytes in config.yaml.",
                    status=413,
                    param="file",
                )
            self._held += data[start:end]
            return
        self._value += data[start:end]
        if len(self._value) > _LONGEST_FIELD:
            raise _broken()

    def _part_ends(self) -> None:
        if self._field is not None and self._field != "file":
            self.fields[self._field] = self._value.decode(errors="replace")

    def _ends(self) -> None:
        self.ended = True


def _broken() -> BadRequest:
    return BadRequest(
        "The upload is not whole, or not multipart/form-data as RFC 7578 says.",
        remedy="Send the form fields `purpose` and `file`, as OpenAI's clients do.",
    )
