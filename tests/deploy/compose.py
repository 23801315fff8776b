"""docker-compose.yml as Docker Compose reads it: variables put in, then YAML."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
COMPOSE_FILE = ROOT / "docker-compose.yml"

# https://docs.docker.com/reference/compose-file/interpolation/
_VARIABLE = re.compile(r"\$(?:(?P<dollar>\$)|\{(?P<name>\w+)(?:(?P<operator>:-|:\?)(?P<rest>[^}]*))?\})")


class MissingVariable(Exception):
    """A variable with `:?` is unset or empty; the text is the file's own."""


def read_compose(environ: Mapping[str, str]) -> dict[str, Any]:
    """The file with the variables of `environ`. Raises `MissingVariable`."""

    def value(match: re.Match[str]) -> str:
        if match["dollar"]:
            return "$"
        given = environ.get(match["name"], "")
        if match["operator"] == ":?" and not given:
            raise MissingVariable(match["rest"])
        return given or (match["rest"] if match["operator"] == ":-" else "")

    text = "\n".join(line.split("#", 1)[0] for line in COMPOSE_FILE.read_text("utf-8").splitlines())
    document: dict[str, Any] = yaml.safe_load(_VARIABLE.sub(value, text))
    return document


def variables() -> set[str]:
    """The names of all variables in the file."""
    return {match["name"] for match in _VARIABLE.finditer(COMPOSE_FILE.read_text("utf-8")) if match["name"]}
