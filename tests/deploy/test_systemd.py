"""deploy/systemd/: units that systemd takes, and what they promise."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from compose import ROOT
from test_compose import HAND_BACK_S

from chatq.contract.config_file import load_settings
from chatq.contract.settings import Settings
from for_each import for_each

FOLDER = ROOT / "deploy/systemd"
UNITS = sorted(path.name for path in FOLDER.glob("*.service"))
OURS = [name for name in UNITS if name != "chatq-valkey.service"]
# What is above it is open to what it should not; systemd's own sshd is at 96.
MOST_EXPOSED = 20

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze here"
)


def service(name: str) -> dict[str, list[str]]:
    """The section Service: each setting with its values, in order."""
    found: dict[str, list[str]] = {}
    text = (FOLDER / name).read_text("ascii").partition("[Service]\n")[2].partition("\n[")[0]
    for line in text.splitlines():
        if line and not line.startswith("#"):
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


@pytest.fixture
def units(tmp_path: Path) -> list[Path]:
    """The units, with programs that are here in place of those that they start; the template as its first worker."""
    for path in [*FOLDER.glob("*.service"), *FOLDER.glob("*.service.d")]:
        target = tmp_path / path.name.replace("@.", "@1.")
        if path.is_dir():
            shutil.copytree(path, target)
            continue
        text = path.read_text("ascii").replace(
            "/opt/chatq/bin/chatq", str(Path(sys.executable).with_name("chatq"))
        )
        target.write_text(text.replace("/usr/bin/valkey-server", "/bin/true"))
    return sorted(tmp_path.glob("*.service"))


@needs_systemd
def test_systemd_takes_every_unit_without_a_word(units: list[Path]) -> None:
    words = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", *map(str, units)]
    checked = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")


@needs_systemd
def test_a_misspelt_setting_is_told(units: list[Path]) -> None:
    """Otherwise the test above could not fail."""
    units[0].write_text(units[0].read_text("ascii").replace("ProtectSystem=", "ProtectSytem="))
    words = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(units[0])]
    assert "ProtectSytem" in subprocess.run(words, capture_output=True, text=True, check=False).stderr


@needs_systemd
def test_every_unit_is_closed_to_what_it_does_not_need(units: list[Path]) -> None:
    words = ["systemd-analyze", "security", "--offline=yes", "--no-pager", f"--threshold={MOST_EXPOSED}"]
    checked = subprocess.run([*words, *map(str, units)], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@for_each("name", UNITS)
def test_a_unit_has_no_rights_and_writes_nothing_but_its_data(name: str) -> None:
    found = service(name)
    assert found["User"] == (["chatq"] if name in OURS else ["chatq-valkey"])
    assert found["NoNewPrivileges"] == ["yes"]
    assert found["CapabilityBoundingSet"] == [""]
    assert found["ProtectSystem"] == ["strict"]
    assert found["LimitCORE"] == ["0"]
    assert found["UMask"] == ["0077"]
    assert "ReadWritePaths" not in found
    assert found.get("StateDirectoryMode", ["0700"]) == ["0700"]


def test_a_worker_has_time_to_end_its_calls_and_files_for_its_slots() -> None:
    found = service("chatq-worker@.service")
    settings = load_settings(ROOT / "config.yaml", environ={})
    assert int(found["TimeoutStopSec"][0]) > settings.worker.grace + HAND_BACK_S
    assert found["KillMode"] == ["mixed"]
    assert int(found["LimitNOFILE"][0]) >= settings.worker.slots + 200


def test_keys_go_to_workers_as_credentials_and_to_nobody_else() -> None:
    keys = (FOLDER / "chatq-worker@.service.d/keys.conf").read_text("ascii")
    [name] = re.findall(r"^LoadCredential=([a-z-]+):/etc/chatq/keys/\1$", keys, re.MULTILINE)
    variable = f"CHATQ_CONNECTIONS__{name.upper().replace('-', '_')}__API_KEY"
    assert f"Environment={variable}=file:%d/{name}" in keys.splitlines()
    assert not any("LoadCredential" in service(unit) for unit in UNITS)


def test_the_variable_of_a_key_is_one_that_settings_know(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("connections: {openai-main: {source: openai}}")
    variables = {"CHATQ_CONNECTIONS__OPENAI_MAIN__API_KEY": "file:/run/credentials/a/openai-main"}
    settings: Settings = load_settings(tmp_path / "config.yaml", environ=variables)
    assert str(settings.connections["openai-main"].api_key) == "file:/run/credentials/a/openai-main"


def test_every_user_of_the_units_is_made() -> None:
    made = re.findall(r"^u (\S+) - ", (FOLDER / "chatq.sysusers").read_text("ascii"), re.MULTILINE)
    assert set(made) == {user for unit in UNITS for user in service(unit)["User"]}
