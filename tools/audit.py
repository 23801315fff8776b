"""Looks up every pinned requirement in the advisories of OSV, by pip-audit: `make audit`.

    python tools/audit.py [--url URL] [FILE ...]

Exit code 1 when a pin has a known vulnerability that is not in `ACCEPTED`. 0 when none has, or when the advisories
cannot be reached or read: then it says so, since no change of ours makes them answer. What was looked up is not looked
up again on the same day.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

ROOT: Final = Path(__file__).parents[1]
SEEN: Final = ROOT / ".venv" / "audited"
URL: Final = "https://api.osv.dev/v1/query"
ACCEPTED: Final[dict[str, str]] = {}
"""Ids of advisories that do not concern us, and why."""
_AT_ONCE: Final = 4
_SHARE: Final = 40
"""Pins for which another process is worth its start."""
_REACHED_S: Final = 5
_WHOLE_S: Final = 60
_PIN: Final = re.compile(r"^([a-z0-9._-]+)==([^\s;\\]+)[^\n]*\n((?:    --hash=\S+[^\n]*\n?)+)", re.MULTILINE)


class Pin(NamedTuple):
    name: str
    version: str
    hashes: str

    def __str__(self) -> str:
        """Without its marker: a package of another system or Python is looked up, too."""
        return f"{self.name}=={self.version} \\\n{self.hashes}"


class Unanswered(Exception):
    """The advisories did not answer, or not as they should."""


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("files", nargs="*", type=Path, default=sorted(ROOT.glob("requirements*.txt")))
    parser.add_argument("--url", default=URL)
    arguments = parser.parse_args()
    pins = sorted({pin for path in arguments.files for pin in pins_of(path)})
    today = f"{datetime.now(UTC):%F} {arguments.url} {hashlib.sha256(repr((pins, ACCEPTED)).encode()).hexdigest()}"
    if SEEN.exists() and SEEN.read_text() == today:
        return told(f"{len(pins)} pins have no known vulnerability, as of today")
    try:
        reach(arguments.url)
    except Unanswered as error:
        return told(f"skipped: {error}")
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        asked = [threads.submit(look_up, some, arguments.url) for some in shared_out(pins)]
    found: list[str] = []
    silent: Unanswered | None = None
    for each in asked:
        try:
            found += each.result()
        except Unanswered as error:
            silent = error
    if found:
        told(f"{len(found)} known vulnerabilities; `make requirements` pins newer versions:")
        for line in sorted(found):
            told(f"  {line}")
        return 1
    if silent is not None:
        return told(f"skipped: {silent}")
    if SEEN.parent.is_dir():
        SEEN.write_text(today)
    return told(f"{len(pins)} pins have no known vulnerability")


def told(text: str) -> int:
    print(f"audit: {text}", file=sys.stderr)
    return 0


def pins_of(path: Path) -> list[Pin]:
    """The pins of a file as `uv pip compile` writes it. Raises `ValueError` when it has a line that is none."""
    text = path.read_text("utf-8")
    pins = [Pin(*found.groups()) for found in _PIN.finditer(text)]
    if not pins or len(pins) != len(re.findall(r"^[^\s#]", text, re.MULTILINE)):
        raise ValueError(f"{path} is not pinned throughout, each with its hashes")
    return pins


def shared_out(pins: list[Pin]) -> list[list[Pin]]:
    """Some for each of `_AT_ONCE`; more shares where needed: pip-audit takes one version of a package at a time."""
    shares: list[dict[str, Pin]] = [{} for _ in range(min(_AT_ONCE, 1 + len(pins) // _SHARE))]
    for pin in pins:
        share = min((one for one in shares if pin.name not in one), key=len, default=None)
        if share is None:
            shares.append(share := {})
        share[pin.name] = pin
    return [list(share.values()) for share in shares if share]


def reach(url: str) -> None:
    """Raises `Unanswered` when nobody is there; whatever is answered is an answer."""
    try:
        urllib.request.urlopen(url, timeout=_REACHED_S).close()  # noqa: S310 - https, or the test's own
    except urllib.error.HTTPError as error:
        error.close()
    except OSError as error:
        raise Unanswered(f"{host_of(url)} cannot be reached: {getattr(error, 'reason', error)}") from None


def look_up(pins: list[Pin], url: str) -> list[str]:
    """What is known of these pins, a line for each vulnerability. Raises `Unanswered`."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "requirements.txt")
        file.write_text("".join(map(str, pins)))
        command = [
            str(Path(sys.executable).with_name("pip-audit")), "--requirement", str(file), "--require-hashes",
            "--disable-pip", "--vulnerability-service", "osv", "--osv-url", url, "--timeout", str(_REACHED_S),
            "--format", "json", "--progress-spinner", "off",
        ]  # fmt: skip
        try:
            ended = subprocess.run(command, capture_output=True, text=True, timeout=_WHOLE_S, check=False)
        except subprocess.TimeoutExpired:
            raise Unanswered(f"{host_of(url)} did not answer within {_WHOLE_S} s") from None
    try:
        answers = json.loads(ended.stdout)["dependencies"]
    except ValueError:
        last = (ended.stderr.strip() or "nothing").splitlines()[-1]
        raise Unanswered(f"{host_of(url)} did not answer: {last}") from None
    if len(answers) != len(pins) or any("skip_reason" in answer for answer in answers):
        raise Unanswered(f"{host_of(url)} does not tell of every package")
    return [line for answer in answers for line in lines_of(answer)]


def host_of(url: str) -> str:
    return urlsplit(url).hostname or url


def lines_of(answer: dict[str, Any]) -> list[str]:
    return [
        f"{answer['name']} {answer['version']}: {one['id']}, mended in {', '.join(one['fix_versions']) or 'none yet'}"
        for one in answer["vulns"]
        if not {one["id"], *one.get("aliases", ())} & ACCEPTED.keys()
    ]


if __name__ == "__main__":
    sys.exit(main())
