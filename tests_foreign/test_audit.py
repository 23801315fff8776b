"""`make audit`: what is said of known vulnerabilities, and what when nobody can say."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from installation import WAIT_S

ROOT = Path(__file__).parents[1]
PINS = "".join(
    f"{name}=={version} \\\n    --hash=sha256:{'0' * 64}\n"
    for name, version in (("good", "1.0"), ("bad", "1.0"))
)
ADVISORY = {
    "id": "PYSEC-2026-1",
    "summary": "It lets everybody in.",
    "details": "",
    "aliases": [],
    "modified": "2026-01-01T00:00:00Z",
    "published": "2026-01-01T00:00:00Z",
    "affected": [
        {
            "package": {"name": "bad", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "1.1"}]}],
            "versions": ["1.0"],
        }
    ],
}


class Advisories:
    """In the place of OSV: what it says of each package, or the status with which it refuses."""

    def __init__(self, vulnerable: Mapping[str, Any], status: int = 200) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
                known = vulnerable.get(asked["package"]["name"])
                body = json.dumps({"vulns": [known]} if known else {}).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1/query"

    def __enter__(self) -> Advisories:
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def pins(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "requirements.txt"
    path.write_text(PINS)
    seen = ROOT / ".venv" / "audited"
    before = seen.read_text() if seen.exists() else None
    yield path
    seen.unlink(missing_ok=True)
    if before is not None:
        seen.write_text(before)


def audit(python: Path, pins: Path, url: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [python, ROOT / "tools" / "audit.py", "--url", url, pins],
        capture_output=True, text=True, timeout=WAIT_S, check=False,
    )  # fmt: skip


def test_a_known_vulnerability_fails_and_is_named_with_the_version_that_mends_it(
    audit_python: Path, pins: Path
) -> None:
    with Advisories({"bad": ADVISORY}) as advisories:
        ended = audit(audit_python, pins, advisories.url)
    assert ended.returncode == 1
    assert "bad 1.0: PYSEC-2026-1, mended in 1.1" in ended.stderr


def test_what_was_looked_up_today_is_not_looked_up_again(audit_python: Path, pins: Path) -> None:
    with Advisories({}) as advisories:
        first = audit(audit_python, pins, advisories.url)
    assert (first.returncode, first.stderr) == (0, "audit: 2 pins have no known vulnerability\n")
    again = audit(audit_python, pins, advisories.url)  # which nobody answers now
    assert (again.returncode, again.stderr) == (0, "audit: 2 pins have no known vulnerability, as of today\n")


def test_advisories_that_cannot_be_reached_are_said_and_fail_nothing(audit_python: Path, pins: Path) -> None:
    with Advisories({}) as advisories:
        pass
    ended = audit(audit_python, pins, advisories.url)
    assert ended.returncode == 0
    assert ended.stderr.startswith("audit: skipped: 127.0.0.1 cannot be reached: ")


def test_advisories_that_do_not_work_are_said_and_never_taken_for_good_news(
    audit_python: Path, pins: Path
) -> None:
    with Advisories({}, status=503) as advisories:
        ended = audit(audit_python, pins, advisories.url)
    assert ended.returncode == 0
    assert ended.stderr.startswith("audit: skipped: 127.0.0.1 did not answer: ")
    assert "no known" not in ended.stderr


def test_a_file_that_is_not_pinned_throughout_fails(audit_python: Path, pins: Path) -> None:
    pins.write_text(PINS + "another>=1\n")
    assert audit(audit_python, pins, "http://127.0.0.1:9/").returncode == 1
