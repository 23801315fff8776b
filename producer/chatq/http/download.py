"""A stored file on its way to a client."""

from __future__ import annotations

import os

from starlette.responses import FileResponse
from starlette.types import Receive, Scope, Send

from chatq.http.file_store import FileStore, StoredFile


class Download(FileResponse):
    """The bytes of a file, or the range of them that is asked for. They come whole, though it is deleted meanwhile."""

    def __init__(self, files: FileStore, stored: StoredFile) -> None:
        """Blocking. Raises `NotFound` when it is deleted by now."""
        self._file = files.open(stored)
        descriptor = self._file.fileno()
        super().__init__(
            f"/dev/fd/{descriptor}",
            media_type="application/octet-stream",
            filename=stored.filename,
            stat_result=os.fstat(descriptor),
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._file:
            await super().__call__(scope, receive, send)
