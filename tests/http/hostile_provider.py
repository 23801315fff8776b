"""A provider whose every text is an attack on whoever shows it: model names, answers, errors."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

ATTACK = "<script>document.title='broken'</script><img src=x onerror=\"document.title='broken'\">'\"&{{7*7}}"
"""In an element, in an attribute of either quote, in a script, in a template."""
MODEL = 'm"><svg onload=alert(1)>'


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(200, {"object": "list", "data": [{"id": "tame", "object": "model"}, {"id": MODEL}]})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if "please fail" in json.dumps(asked):
            self._answer(
                400, {"error": {"message": f"{ATTACK} is no message", "type": "invalid_request_error"}}
            )
            return
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": ATTACK}}
        usage = {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}
        self._answer(
            200,
            {
                "id": "x",
                "object": "chat.completion",
                "created": 1,
                "model": MODEL,
                "choices": [choice],
                "usage": usage,
            },
        )

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *arguments: object) -> None:
        pass


class HostileProvider:
    """Serves from entering to leaving. `url`: for a connection of source `custom`."""

    def __enter__(self) -> Self:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
