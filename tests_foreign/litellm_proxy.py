"""A real LiteLLM proxy: started from its own environment, with models that answer without a provider."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

MASTER_KEY = "sk-proxy-canary-4be0a7c19d3f2268"
WRONG_KEY = "sk-wrong-canary-90b2c65d81aa47e3"
ANSWER = "Rain taps the roof."
START_S = 90.0
"""It loads for ten seconds on a free machine, and longer while the machine is busy or its files are still cold."""
END_S = 15.0

_CONFIG = {
    "model_list": [
        {
            "model_name": name,
            # No call leaves the machine: the proxy makes the answer itself.
            "litellm_params": {"model": "openai/none", "api_key": "none", "mock_response": answer},
        }
        for name, answer in {"greeter": ANSWER, "limited": "litellm.RateLimitError"}.items()
    ],
    "general_settings": {"master_key": "os.environ/PROXY_MASTER_KEY"},
    "router_settings": {"num_retries": 0, "disable_cooldowns": True},
    "litellm_settings": {"telemetry": False, "num_retries": 0},
}


class LiteLLMProxy:
    """`litellm --config FILE` on a free port of the loopback, in `folder`; ended with the `with` block.

    `url`: its base URL, with /v1. `log`: what it has written.
    """

    def __init__(self, command: Path, folder: Path) -> None:
        self._folder = folder
        self._log = folder / "litellm.log"
        # JSON is YAML.
        (folder / "litellm.yaml").write_text(json.dumps(_CONFIG))
        self._port = _free_port()
        self.url = f"http://127.0.0.1:{self._port}/v1"
        self._command = [
            str(command),
            "--config",
            "litellm.yaml",
            "--host",
            "127.0.0.1",
            "--port",
            str(self._port),
        ]

    def __enter__(self) -> Self:
        environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(self._folder),
            "PROXY_MASTER_KEY": MASTER_KEY,
            # Its price list from the package, not from the network.
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        }
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command, cwd=self._folder, env=environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        try:
            self._wait_until_it_answers()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end()

    @property
    def log(self) -> str:
        return self._log.read_text("utf-8", "replace")

    def calls(self, path: str) -> int:
        """How often a path was asked for, by its access log."""
        return self.log.count(f" {path} HTTP/1.1")

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + START_S
        while self._status("/health/liveliness") != http.client.OK:
            assert self._process.poll() is None, f"the proxy ended while it started; its log:\n{self.log}"
            assert time.monotonic() < deadline, f"no answer after {START_S:g} s; its log:\n{self.log}"
            time.sleep(0.1)

    def _status(self, path: str) -> int | None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        except OSError:
            return None
        finally:
            connection.close()

    def _end(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: Any = probe.getsockname()[1]
    return int(port)
