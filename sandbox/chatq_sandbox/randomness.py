"""Random numbers that belong to a call and not to the order in which calls arrive."""

from __future__ import annotations

from hashlib import blake2b

_RANGE = 1 << 64


class Draws:
    """Uniform numbers fixed by seed, job and call number; each purpose has its own.

    The thousandth call of a run draws the same numbers whether it came first or last, so two runs with the
    same seed treat every job alike however the client schedules them.
    """

    __slots__ = ("_base",)

    def __init__(self, seed: int, job: str, call: int) -> None:
        self._base = f"{seed}\0{job}\0{call}\0".encode()

    def uniform(self, purpose: str) -> float:
        """A number in [0, 1)."""
        digest = blake2b(self._base + purpose.encode(), digest_size=8).digest()
        return int.from_bytes(digest) / _RANGE

    def serial(self) -> str:
        """24 hexadecimal digits that name this call."""
        return blake2b(self._base, digest_size=12).hexdigest()
