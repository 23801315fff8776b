"""The settings of a running process: config.yaml is watched, and taken up when it has changed.

A file that is wrong changes nothing: the settings before it go on, and what is wrong with it is told until it is right
again. A file is read when it has stood still for a look, so that one being written is not mistaken for a short one.
Files with keys are watched too: keys are read when they are used, but what is published depends on them.

What a process can only have from its start (its server, its slots, its port) is kept as it was, and named.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from chatq.contract.config_file import load_settings
from chatq.contract.config_problems import ConfigError
from chatq.contract.connection import Connection
from chatq.contract.section import Section
from chatq.contract.settings import Settings

logger = logging.getLogger(__name__)

LOOK_S: Final = 0.5
"""Between two looks. A change is read within two of them."""
_MOST_PROBLEMS: Final = 20

_Stamp = tuple[int, int, int] | None
"""Time of change, size and inode (editors replace files); None where there is no file."""


@dataclass(frozen=True, slots=True)
class Change:
    """What a look brought: settings are others now, or a key file is. `connections`: those that are new or others."""

    connections: frozenset[str]


class LiveSettings:
    """The settings that hold now (`current`). Settings that came from no file never change.

    `problems`: what is wrong with the file as it is, a line each, without secrets; empty when it holds. `kept`: keys
    that the file has otherwise, and that wait for a restart.
    """

    def __init__(self, settings: Settings, load: Callable[[Path], Settings] = load_settings) -> None:
        path = settings.source_path
        self._path = path if path is not None and path.is_file() else None
        self._load = load
        self._seen: Mapping[Path, _Stamp] = {}
        self._taken: Mapping[Path, _Stamp] = {}
        self.current = settings
        self.problems: tuple[str, ...] = ()
        self.kept: tuple[str, ...] = ()

    def look(self) -> Change | None:
        """Look at the files, and take up what has changed; None when everything is as it was. Reads files."""
        if self._path is None:
            return None
        stamps = self._stamps()
        stands, self._seen = stamps == self._seen, stamps
        if not stands or stamps == self._taken:
            return None
        before, known = self.current, self._taken
        if stamps[self._path] != known.get(self._path):
            self._read(self._path)
        # Of the same moment as the file; other settings may name other key files.
        self._taken = self._seen = {**self._stamps(), self._path: stamps[self._path]}
        changed = {
            name
            for name, connection in self.current.connections.items()
            if connection != before.connections.get(name) or (known and self._key_differs(connection, known))
        }
        return Change(frozenset(changed)) if changed or self.current != before else None

    def _stamps(self) -> Mapping[Path, _Stamp]:
        keys = [_key_file(connection) for connection in self.current.connections.values()]
        return {path: _stamp(path) for path in [self._path, *keys] if path is not None}

    def _key_differs(self, connection: Connection, known: Mapping[Path, _Stamp]) -> bool:
        path = _key_file(connection)
        return path is not None and self._taken[path] != known.get(path)

    def _read(self, path: Path) -> None:
        try:
            loaded = self._load(path)
        except ConfigError as error:
            more = len(error.problems) - _MOST_PROBLEMS
            self.problems = (
                *map(str, error.problems[:_MOST_PROBLEMS]),
                *([f"... and {more} more"] if more > 0 else []),
            )
            logger.warning("%s is refused, the settings before it go on: %s", path, "; ".join(self.problems))
            return
        settings = _with_kept(loaded, self.current)
        changes, kept = list(_differences(settings, self.current)), tuple(_differences(loaded, settings))
        if changes:
            logger.info("took up %s: %s", path, ", ".join(changes))
        elif self.problems:
            logger.info("%s is right again", path)
        if kept and kept != self.kept:
            logger.warning("kept as it was until the workers are restarted: %s", ", ".join(kept))
        self.current, self.problems, self.kept = settings, (), kept


def _with_kept(settings: Settings, running: Settings) -> Settings:
    """`settings`, but for what a process has only from its start."""
    worker = settings.worker.model_copy(
        update={"slots": running.worker.slots, "processes": running.worker.processes}
    )
    return settings.model_copy(
        update={"redis": running.redis, "worker": worker, "http": running.http, "log": running.log}
    )


def _differences(one: Section, other: Section) -> Iterator[str]:
    """The keys, as config.yaml writes them, in which two sections differ; of a connection only its name."""
    for name, field in type(one).model_fields.items():
        mine, others = getattr(one, name), getattr(other, name)
        if mine == others:
            continue
        key = field.alias or name
        if isinstance(mine, Section) and isinstance(others, Section):
            yield from (f"{key}.{inner}" for inner in _differences(mine, others))
        elif isinstance(mine, Mapping):
            yield from (
                f"{key}.{item}" for item in sorted({*mine, *others}) if mine.get(item) != others.get(item)
            )
        else:
            yield key


def _key_file(connection: Connection) -> Path | None:
    reference = connection.api_key
    return Path(reference.name) if reference is not None and reference.kind == "file" else None


def _stamp(path: Path) -> _Stamp:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
