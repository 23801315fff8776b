"""docker-compose.yml: what it promises, read from the file."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from compose import COMPOSE_FILE, ROOT, MissingVariable, read_compose, variables

from chatq.contract.config_file import load_settings
from chatq.contract.duration import parse_duration

HAND_BACK_S = 5
"""What a worker may take beyond `worker.grace`: `chatq_worker.service._HURRY_S`."""


def options_of(service: dict[str, Any]) -> dict[str, str]:
    """`--name value` pairs of a command."""
    words = service["command"][1:]
    return dict(zip((name.removeprefix("--") for name in words[::2]), words[1::2], strict=True))


@pytest.mark.thorough
def test_the_file_follows_the_compose_schema() -> None:
    checker = str(Path(sys.executable).with_name("check-jsonschema"))
    checked = subprocess.run(
        [checker, "--builtin-schema", "vendor.compose-spec", str(COMPOSE_FILE)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_server_writes_each_job_to_the_disk_before_it_acknowledges_it(compose: dict[str, Any]) -> None:
    options = options_of(compose["services"]["redis"])
    assert (options["appendonly"], options["appendfsync"]) == ("yes", "always")
    assert "redis-data:/data" in compose["services"]["redis"]["volumes"]


def test_a_full_server_refuses_new_jobs_rather_than_forget_old_ones(compose: dict[str, Any]) -> None:
    options = options_of(compose["services"]["redis"])
    assert options["maxmemory-policy"] == "noeviction"
    assert options["maxmemory"] == "2gb"


@pytest.mark.parametrize("name", ["REDIS_PASSWORD", "FLOWER_BASIC_AUTH", "CHATQ_HTTP_TOKENS"])
def test_nothing_starts_without_a_password(name: str) -> None:
    others = {"REDIS_PASSWORD": "a", "FLOWER_BASIC_AUTH": "b:c", "CHATQ_HTTP_TOKENS": "d", name: ""}
    with pytest.raises(MissingVariable, match=f"^set {name}"):
        read_compose(others)


def test_the_example_of_env_names_every_variable_and_sets_no_password() -> None:
    text = (ROOT / "deploy/example.env").read_text("utf-8")
    assert set(re.findall(r"^#?([A-Z_]+)=", text, re.MULTILINE)) == variables()
    assert re.findall(r"^[A-Z_]+=(.*)$", text, re.MULTILINE) == ["", "", ""]


def test_providers_keys_reach_the_workers_only(compose: dict[str, Any]) -> None:
    services = compose["services"]
    assert services["worker"]["env_file"] == [{"path": "deploy/keys.env", "required": False}]
    assert {name for name, service in services.items() if "env_file" in service} == {"worker"}
    assert set(services["redis"]["environment"]) == {"REDISCLI_AUTH"}
    assert set(services["flower"]["environment"]) == {"CHATQ_REDIS_URL", "FLOWER_BASIC_AUTH"}
    assert set(services["front"]["environment"]) == {
        "CHATQ_REDIS_URL",
        "CHATQ_HTTP_TOKENS",
        "CHATQ_HTTP__FOLDER",
    }


def test_the_files_with_keys_and_passwords_are_not_committed() -> None:
    assert "keys.env" in (ROOT / "deploy/.gitignore").read_text("utf-8").split()
    assert ".env" in (ROOT / ".gitignore").read_text("utf-8").split()


def test_a_stopping_worker_has_more_time_than_its_grace(compose: dict[str, Any]) -> None:
    grace = load_settings(ROOT / "config.yaml").worker.grace
    assert parse_duration(compose["services"]["worker"]["stop_grace_period"]) > grace + HAND_BACK_S


def test_two_workers_run(compose: dict[str, Any]) -> None:
    assert compose["services"]["worker"]["deploy"]["replicas"] == 2


@pytest.mark.parametrize("service", ["worker", "flower", "front"])
def test_our_containers_can_change_nothing_but_the_files_of_the_front(
    compose: dict[str, Any], service: str
) -> None:
    ours = compose["services"][service]
    own = ["front-data:/var/lib/chatq"] if service == "front" else []
    assert ours["volumes"] == ["./config.yaml:/etc/chatq/config.yaml:ro", *own]
    assert ours["read_only"] is True
    assert ours["cap_drop"] == ["ALL"]
    assert ours["security_opt"] == ["no-new-privileges:true"]


def test_the_servers_container_is_not_root_and_can_change_nothing_but_its_data(
    compose: dict[str, Any],
) -> None:
    server = compose["services"]["redis"]
    assert server["user"] == "999:1000"
    assert server["volumes"] == ["redis-data:/data"]
    assert server["read_only"] is True
    assert server["cap_drop"] == ["ALL"]
    assert server["security_opt"] == ["no-new-privileges:true"]


def test_flower_and_the_front_are_published_and_only_to_this_machine(compose: dict[str, Any]) -> None:
    published = {
        name: service["ports"] for name, service in compose["services"].items() if "ports" in service
    }
    assert published == {"flower": ["127.0.0.1:5555:5555"], "front": ["127.0.0.1:8400:8400"]}


@pytest.mark.parametrize("service", ["redis", "worker", "flower", "front"])
def test_every_service_is_checked_and_started_again(compose: dict[str, Any], service: str) -> None:
    assert compose["services"][service]["healthcheck"]["test"]
    assert compose["services"][service]["restart"] == "unless-stopped"


@pytest.mark.parametrize("service", ["worker", "flower", "front"])
def test_ours_wait_for_a_healthy_server(compose: dict[str, Any], service: str) -> None:
    assert compose["services"][service]["depends_on"] == {"redis": {"condition": "service_healthy"}}
