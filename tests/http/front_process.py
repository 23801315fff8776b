"""`chatq serve` for a test: the real process, on a port of its own."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import httpx
from installation import WAIT_S, Installation, until

from forked import ForkedProcess


class FrontProcess:
    """A front of an installation. `environ`: beside the installation's. `fresh`: see `WorkerProcess`."""

    def __init__(
        self, installation: Installation, *, environ: Mapping[str, str] | None = None, fresh: bool = False
    ) -> None:
        self.installation = installation
        place = installation.folder / f"front-{time.monotonic_ns()}"
        self._output, self.errors = place.with_suffix(".out"), place.with_suffix(".err")
        arguments = ["serve", "--config", str(installation.config)]
        environ = {**installation.environ, **(environ or {})}
        self._process: subprocess.Popen[bytes] | ForkedProcess
        if fresh:
            with self._output.open("wb") as output, self.errors.open("wb") as errors:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "chatq.http", *arguments],
                    cwd=installation.folder,
                    env=environ,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=errors,
                )
        else:
            self._process = ForkedProcess(
                "chatq.http",
                arguments,
                environ=environ,
                folder=installation.folder,
                output=self._output,
                errors=self.errors,
            )

    def __enter__(self) -> Self:
        def said() -> str:
            assert self._process.poll() is None, self.errors.read_text()
            return self._output.read_text() if self._output.exists() else ""

        line = until(lambda: said().endswith("\n") and said(), "the front to start")
        self.url = line.split()[-1].removesuffix("/v1")
        self.client = httpx.Client(base_url=self.url, timeout=WAIT_S, trust_env=False)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.client.close()
        self.stop()
        if error is None:
            said = self.errors.read_text()
            assert "Traceback" not in said, said
            assert "fault in chatq" not in said, said

    def stop(self) -> int:
        """SIGTERM; its exit code."""
        self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(WAIT_S)
        finally:
            self._process.kill()

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()
        self._process.wait(WAIT_S)

    def ask(self, prompt: str, **keys: Any) -> httpx.Response:
        """A chat completion of this prompt."""
        headers = keys.pop("headers", None)
        return self.client.post("/v1/chat/completions", json=chat(prompt, **keys), headers=headers)

    def upload(self, lines: bytes, **options: Any) -> httpx.Response:
        """An upload for a batch, as OpenAI's clients make it."""
        headers = {"authorization": "Bearer any", **options.pop("headers", {})}
        return self.client.post(
            "/v1/files",
            data={"purpose": "batch", **options},
            files={"file": ("in.jsonl", lines, "application/octet-stream")},
            headers=headers,
        )

    def batch(self, file_id: str, **keys: Any) -> httpx.Response:
        """A batch of an upload."""
        headers = keys.pop("headers", None)
        body = {
            "input_file_id": file_id,
            "endpoint": "/v1/chat/completions",
            "completion_window": "24h",
            **keys,
        }
        return self.client.post("/v1/batches", json=body, headers=headers)

    def ended(self, batch_id: str, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
        """The batch once it has ended."""

        def look() -> dict[str, Any] | None:
            found: dict[str, Any] = self.client.get(f"/v1/batches/{batch_id}", headers=headers).json()
            return found if found["status"] in {"completed", "failed", "expired", "cancelled"} else None

        found: dict[str, Any] = until(look, "the batch to end")
        return found

    def lines_of(self, file_id: str) -> list[dict[str, Any]]:
        """The lines of a file."""
        text = self.client.get(f"/v1/files/{file_id}/content").text
        return [json.loads(line) for line in text.splitlines()]


def chat(prompt: str, **keys: Any) -> dict[str, Any]:
    """A request for a chat completion."""
    return {"model": "sim", "messages": [{"role": "user", "content": prompt}], **keys}


def batch_lines(*prompts: str) -> bytes:
    """Lines of a batch file: `c0`, `c1`, ..."""
    return b"".join(
        json.dumps(
            {"custom_id": f"c{n}", "method": "POST", "url": "/v1/chat/completions", "body": chat(prompt)}
        ).encode()
        + b"\n"
        for n, prompt in enumerate(prompts)
    )


def error_of(response: httpx.Response) -> tuple[int, str]:
    """Status and code of an error; its shape is OpenAI's."""
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code", "remedy"}
    return response.status_code, error["code"]
