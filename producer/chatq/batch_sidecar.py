"""The file beside a batch's output, `OUTPUT.chatq`: which batch the output is of, and how far it has been written.

It is replaced whole, so it is always either as before or as after. `written` and `cursor` belong together: so many
bytes of the output hold the results before this cursor, and are on the disk. What stands behind them (a line that was
cut off when the machine died, lines whose sync was never told of) is cut off and written again.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import orjson

from chatq.contract.errors import InvalidJob

VERSION: Final = 1


class BatchFiles(InvalidJob):
    """The files of a batch run do not fit together; nothing was done."""

    code = "batch_files"


class OutputInUse(BatchFiles):
    """Another run writes this output; nothing was done."""


@dataclass(slots=True)
class Sidecar:
    """What is known of a run. `input`: SHA-256 of the input; `connection`, `prompts`, `in_order`: how it is read and
    written; `skipped`: its bad lines, which were left out; `sealed`: all of it is enqueued; `done`: all of it is
    written."""

    batch: str
    input: str
    connection: str | None = None
    prompts: bool = False
    in_order: bool = False
    jobs: int = 0
    skipped: int = 0
    sealed: bool = False
    cursor: int = 0
    written: int = 0
    done: bool = False
    version: int = VERSION

    @classmethod
    def beside(cls, output: Path) -> Path:
        """Where it is."""
        return output.with_name(f"{output.name}.chatq")

    @classmethod
    def load(cls, output: Path) -> Sidecar | None:
        """The one beside `output`; None when there is none. Raises `BatchFiles` when it cannot be read."""
        path = cls.beside(output)
        try:
            data = orjson.loads(path.read_bytes())
            if data["version"] != VERSION:
                raise ValueError(f"version {data['version']}")
            return cls(**data)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not as chatq wrote it"
            raise BatchFiles(
                f"The file {path} cannot be read: {reason}.",
                remedy=f"Restore it; or begin anew, and pay anew: remove it and {output}.",
            ) from None

    def save(self, output: Path) -> None:
        """Write it, and make sure that it is on the disk."""
        path = self.beside(output)
        new = path.with_name(f"{path.name}.new")
        with new.open("wb") as file:
            file.write(orjson.dumps(asdict(self), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # the new name as well: Redis lets go of the results after this
        finally:
            os.close(folder)
