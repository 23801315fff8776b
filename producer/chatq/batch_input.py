"""Reading the input of a batch: a file of lines, of any length, in memory that hardly grows with it.

It is read twice: once to hold every line against the settings, so that nothing is enqueued while a line is bad; once to
enqueue it.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from io import BufferedReader
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO, Final

from chatq.contract.batch_line import custom_id_of, read_line
from chatq.contract.chat_request import NAME_A_CONNECTION
from chatq.contract.check import CheckedJob, check
from chatq.contract.errors import ChatQueueError, InvalidJob, JobTooLarge, UnknownConnection
from chatq.contract.job import CORRECT_IT, Job
from chatq.contract.json_object import NotAnObject
from chatq.contract.settings import Settings
from chatq.contract.token_estimate import BYTES_PER_TOKEN, longest_answer, prompt_size

_BOM: Final = b"\xef\xbb\xbf"
_SPELLED_OUT: Final = 3
"""A line may have so many bytes for each of a job: JSON can spell a character out as `\\u4e2d`."""
_PIECE: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line of which no job can be made. `number` counts from 1, blank lines too."""

    number: int
    custom_id: str | None
    code: str
    message: str
    remedy: str
    is_object: bool = True
    """Whether it is a JSON object at all, as far as it was looked at."""


@dataclass(slots=True)
class Estimate:
    """What jobs of one connection and model will ask for, before any answer told better."""

    jobs: int = 0
    prompt_bytes: int = 0
    answer_tokens: int = 0
    """The longest answers that they ask for."""
    unbounded: int = 0
    """Jobs that do not say how long their answer may be."""

    def add(self, job: CheckedJob, times: int = 1) -> None:
        longest = longest_answer({**job.connection.params, **job.job.params})
        self.jobs += times
        self.prompt_bytes += times * prompt_size(job.job)
        self.answer_tokens += times * longest
        self.unbounded += times * (not longest)

    @property
    def prompt_tokens(self) -> float:
        return self.prompt_bytes / BYTES_PER_TOKEN


@dataclass(slots=True)
class Summary:
    """What was found in a file: its lines, good and bad, and what names it."""

    jobs: int = 0
    bad: int = 0
    objects: int = 0
    """Of the bad lines those that are JSON objects."""
    estimates: dict[tuple[str, str], Estimate] = field(default_factory=dict)
    """By connection and model."""
    sha256: str = ""

    def add(self, job: CheckedJob) -> None:
        self.jobs += 1
        of = (job.job.connection, job.model)
        if (estimate := self.estimates.get(of)) is None:
            estimate = self.estimates[of] = Estimate()
        estimate.add(job)

    def take_back(self, job: CheckedJob) -> None:
        self.jobs -= 1
        of = (job.job.connection, job.model)
        self.estimates[of].add(job, -1)
        if not self.estimates[of].jobs:
            del self.estimates[of]


@dataclass(frozen=True, slots=True)
class _TooLong:
    """In place of a line that no job can have; it was not kept."""

    length: int


class BatchInput:
    """A file of lines, each an OpenAI batch request or a job; with `prompts` each a prompt as it stands.

    `connection`: for lines that name none.
    """

    def __init__(
        self,
        path: Path,
        settings: Settings,
        *,
        connection: str | None = None,
        how_to_name: str = "-c CONNECTION",
        prompts: bool = False,
        amend: Callable[[Job], Job] = lambda job: job,
    ) -> None:
        """`how_to_name`: how `connection` is named. `amend(job)`: what is made of each job before it is looked at; it
        may raise `InvalidJob`."""
        self.path = path
        self.summary = Summary()
        self._settings = settings
        self.connection = connection
        self._how_to_name = how_to_name
        self.prompts = prompts
        self._amend = amend
        self._bad: set[int] = set()

    def validate(self) -> Iterator[BadLine]:
        """Every bad line, as it is found; those whose `custom_id` is another's come last. Then `summary` is complete.

        Raises `InvalidJob` when the file cannot be read.
        """
        self._bad = set()
        found, digest = Summary(), hashlib.sha256()
        numbers, names = array("Q"), array("Q")
        for number, line in self._lines(digest):
            read = self._read(number, line)
            if isinstance(read, BadLine):
                self._bad.add(number)
                found.bad += 1
                found.objects += read.is_object
                yield read
                continue
            found.add(read)
            numbers.append(number)
            names.append(_hash(read.job.custom_id or ""))
        twice: dict[int, int] = {}
        order = sorted(range(len(names)), key=names.__getitem__)
        for before, after in pairwise(order):
            if names[before] == names[after]:
                twice[numbers[after]] = twice.get(numbers[before], numbers[before])
        found.sha256 = digest.hexdigest()
        for doubled, job in self._doubled(twice):
            self._bad.add(doubled.number)
            found.bad += 1
            found.objects += 1
            found.take_back(job)
            yield doubled
        self.summary = found

    def jobs(self) -> Iterator[Job]:
        """The good lines, in order, after `validate`.

        Raises `InvalidJob`, at the end at the latest, when the file is not any more what was validated.
        """
        digest = hashlib.sha256()
        for number, line in self._lines(digest):
            if number in self._bad:
                continue
            try:
                job = self._amend(self._job(number, line))
            except ChatQueueError:
                raise changed_meanwhile(self.path) from None
            yield job
        if digest.hexdigest() != self.summary.sha256:
            raise changed_meanwhile(self.path)

    def refusal(
        self, *, skip_bad: bool, how_to_skip: str = "--skip-bad", again: bool = False
    ) -> InvalidJob | None:
        """Why nothing of the file is to be enqueued, after `validate`; None: it is good enough.

        `how_to_skip`: how its good lines can be had without the others. `again`: some of it may be enqueued already.
        """
        found = self.summary
        if not found.bad:
            nothing = InvalidJob(f"{self.path}: there is no line to enqueue.", remedy="Check the input.")
            return None if found.jobs else nothing
        if found.jobs and skip_bad:
            return None
        remedy = "Correct them."
        if found.jobs:
            remedy = f"Correct them; or go on without them: {how_to_skip}."
        elif not found.objects and not self.prompts:
            remedy = (
                "No line is a JSON object. If each is a prompt as it stands, say so: --prompts -c CONNECTION."
            )
        return InvalidJob(
            f"{self.path}: {found.bad:,} of {found.bad + found.jobs:,} lines are bad. "
            f"Nothing{' more' if again else ''} was enqueued.",
            remedy=remedy,
        )

    def sha256(self) -> str:
        """The fingerprint of the file. Raises `InvalidJob` when it cannot be read."""
        with self._open() as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def _open(self) -> BufferedReader:
        try:
            if not self.path.is_file() and self.path.exists():
                raise InvalidJob(
                    f"{self.path} is not a regular file.",
                    remedy="Write the input into a file: it is read more than once.",
                )
            return self.path.open("rb")
        except OSError as error:
            raise InvalidJob(
                f"The file {self.path} cannot be read: {error.strerror}.", remedy="Check the path."
            ) from None

    def _lines(self, digest: hashlib._Hash) -> Iterator[tuple[int, bytes | _TooLong]]:
        """The lines that are not blank, without their ends, each with its number."""
        longest = _SPELLED_OUT * int(self._settings.bounds.job_bytes)
        number = 0
        with self._open() as file:
            while line := file.readline(longest + 1):
                number += 1
                digest.update(line)
                if len(line) > longest:
                    yield number, _TooLong(len(line) + _skip_rest(file, line, digest))
                    continue
                if number == 1:
                    line = line.removeprefix(_BOM)
                line = line.rstrip(b"\r\n")
                if line.strip():
                    yield number, line

    def _read(self, number: int, line: bytes | _TooLong) -> CheckedJob | BadLine:
        try:
            return check(self._amend(self._job(number, line)), self._settings)
        except ChatQueueError as error:
            is_object, custom_id = self._named(number, line)
            remedy = "Correct the line." if error.remedy == CORRECT_IT else error.remedy
            is_of_connection = isinstance(error, UnknownConnection) or error.remedy == NAME_A_CONNECTION
            if self.connection is None and is_of_connection:
                remedy += f" Or name one for the whole file, so that any model will do: {self._how_to_name}"
            return BadLine(number, custom_id, error.code, error.message, remedy, is_object)

    def _named(self, number: int, line: bytes | _TooLong) -> tuple[bool, str | None]:
        """Whether a line is a JSON object, and its `custom_id` as far as it can be told."""
        if self.prompts or isinstance(line, _TooLong):
            return isinstance(line, _TooLong), f"line-{number}" if self.prompts else None
        try:
            return True, custom_id_of(line)
        except NotAnObject:
            return False, None

    def _doubled(self, twice: Mapping[int, int]) -> Iterator[tuple[BadLine, CheckedJob]]:
        """The lines whose `custom_id` is that of an earlier one, which is named for each. Only fingerprints of these
        were kept, so the file is read once more where there are any."""
        for number, line in self._lines(hashlib.sha256()) if twice else ():
            if (first := twice.get(number)) is not None:
                read = self._read(number, line)
                if isinstance(read, BadLine):
                    raise changed_meanwhile(self.path)
                bad = BadLine(
                    number,
                    read.job.custom_id,
                    "duplicate_custom_id",
                    f"Its custom_id is that of line {first} already.",
                    "Give each line a custom_id of its own: its result is found by it.",
                )
                yield bad, read

    def _job(self, number: int, line: bytes | _TooLong) -> Job:
        if isinstance(line, _TooLong):
            raise _too_long(line.length, int(self._settings.bounds.job_bytes))
        return self._of_prompt(number, line) if self.prompts else read_line(line, self.connection)

    def _of_prompt(self, number: int, line: bytes) -> Job:
        try:
            text = line.decode()
        except UnicodeDecodeError as error:
            raise InvalidJob(
                f"The line is not UTF-8 text at byte {error.start}.", remedy="Save the file as UTF-8."
            ) from None
        return Job.parse({"connection": self.connection, "prompt": text, "custom_id": f"line-{number}"})


def changed_meanwhile(path: Path) -> InvalidJob:
    """The file is another than it was."""
    return InvalidJob(
        f"{path} was changed while it was read.",
        remedy="Leave the input alone while it is enqueued; run again.",
    )


def _skip_rest(file: BinaryIO, line: bytes, digest: hashlib._Hash) -> int:
    """Read on to the end of the line; the number of bytes."""
    skipped = 0
    while not line.endswith(b"\n") and (line := file.readline(_PIECE)):
        digest.update(line)
        skipped += len(line)
    return skipped


def _hash(name: str) -> int:
    return int.from_bytes(
        hashlib.blake2b(name.encode(errors="surrogatepass"), digest_size=8).digest(), "little"
    )


def _too_long(length: int, allowed: int) -> JobTooLarge:
    return JobTooLarge(
        f"The line has {length:,} bytes; bounds.job_bytes allows a job {allowed:,}.",
        remedy="Shorten the prompt, or raise bounds.job_bytes in config.yaml.",
    )
