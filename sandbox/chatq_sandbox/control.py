"""The control plane under `/_sim/`: counts, lanes, remembered requests, and changes while the simulator runs.

Everything is JSON. A wrong request is a 400 `{"error": ...}` that says what was expected.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import orjson

from chatq_sandbox.config import ConfigError, read_misbehaviour
from chatq_sandbox.connection import Connection
from chatq_sandbox.exchange import Allowance, HttpRequest, Reply
from chatq_sandbox.misbehaviours import KINDS
from chatq_sandbox.section import Section, nearest
from chatq_sandbox.source import KEY_STATES
from chatq_sandbox.wire import whole

if TYPE_CHECKING:
    from chatq_sandbox.simulator import Simulator
    from chatq_sandbox.source import Source

PREFIX = "/_sim/"
_LONGEST_WAIT_S = 600.0
_WAITABLE = ("received", "admitted", "answered", "aborted", "in_flight")


class ControlError(ValueError):
    """The control request is wrong."""


class Wait:
    """A control request that is answered when the counts have come so far."""

    def __init__(
        self,
        control: Control,
        connection: Connection,
        job: str | None,
        goals: dict[str, int],
        timeout_s: float,
    ) -> None:
        self._control = control
        self._connection = connection
        self._job = job
        self._goals = goals
        self._timer = control.simulator.loop.call_later(timeout_s, self._settle, False)

    def reached(self) -> bool:
        """Whether every count is at least what is waited for (`in_flight`: exactly, so that 0 can be waited
        for)."""
        counts = self._control.simulator.counts
        tally = counts.total if self._job is None else counts.job(self._job)
        return all(
            getattr(tally, name) == goal if name == "in_flight" else getattr(tally, name) >= goal
            for name, goal in self._goals.items()
        )

    def look(self) -> None:
        """The counts have changed."""
        if self.reached():
            self._settle(True)

    def abort(self) -> None:
        """The client has gone."""
        self._timer.cancel()
        self._control.forget(self)

    def _settle(self, reached: bool) -> None:
        self.abort()
        counts = self._control.simulator.counts
        tally = counts.total if self._job is None else counts.job(self._job)
        self._connection.write(whole(Reply(200, {"reached": reached, "counts": tally.as_json()})))
        self._connection.finished()


class Control:
    """Answers the control plane of one simulator."""

    def __init__(self, simulator: Simulator) -> None:
        self.simulator = simulator
        self._waits: set[Wait] = set()
        self._endpoints: dict[str, Callable[[Any], Any]] = {
            "GET health": lambda _: {"status": "ok"},
            "GET counts": self._counts,
            "GET lanes": self._lanes,
            "GET requests": self._requests,
            "GET config": lambda _: simulator.settings,
            "GET misbehaviours": self._misbehaviours,
            "POST config": self._configure,
            "PUT config": self._replace_config,
            "POST keys": self._key,
            "POST misbehave": self._misbehave,
            "DELETE misbehave": self._behave,
            "POST pause": self._pause,
            "POST resume": self._resume,
            "POST reset": self._reset,
        }

    def handle(self, connection: Connection, request: HttpRequest) -> Wait | None:
        """Answer one control request."""
        name = f"{request.method} {request.path.removeprefix(PREFIX)}"
        query = {key: values[-1] for key, values in parse_qs(request.query, keep_blank_values=True).items()}
        try:
            if name == "GET wait":
                return self._wait(connection, query)
            endpoint = self._endpoints.get(name)
            if endpoint is None:
                raise ControlError(
                    f"unknown control request {name!r}; {nearest(name, (*self._endpoints, 'GET wait'))}"
                )
            result = endpoint(query if request.method == "GET" else _body(request))
        except (ControlError, ConfigError) as error:
            connection.write(whole(Reply(400, {"error": str(error)})))
            return None
        connection.write(whole(Reply(200, result)))
        return None

    def changed(self) -> None:
        """The counts have changed: see who waited for that."""
        for wait in tuple(self._waits):
            wait.look()

    def forget(self, wait: Wait) -> None:
        """Nobody waits for this any longer."""
        self._waits.discard(wait)
        if not self._waits:
            self.simulator.counts.on_change = None

    def _wait(self, connection: Connection, query: dict[str, str]) -> Wait | None:
        job = query.pop("job", None)
        try:
            timeout_s = float(query.pop("timeout_s", "30"))
            goals = {name: int(value) for name, value in query.items() if name in _WAITABLE}
        except ValueError:
            raise ControlError("wait: expected numbers") from None
        unknown = [name for name in query if name not in _WAITABLE]
        if unknown or not goals or not 0 <= timeout_s <= _LONGEST_WAIT_S:
            raise ControlError(
                f"wait: expected one or more of {', '.join(_WAITABLE)}, and job, timeout_s up to "
                f"{_LONGEST_WAIT_S:g}"
            )
        wait = Wait(self, connection, job, goals, timeout_s)
        if wait.reached():
            # Answered in the next turn of the loop, when the connection knows that this request is pending.
            self.simulator.loop.call_soon(wait.look)
        self._waits.add(wait)
        self.simulator.counts.on_change = self._schedule
        return wait

    def _schedule(self) -> None:
        # A change comes in the middle of a call's bookkeeping; those who wait shall see it finished.
        self.simulator.loop.call_soon(self.changed)

    def _counts(self, query: dict[str, str]) -> Any:
        counts = self.simulator.counts
        if "job" in query:
            tally = counts.jobs.get(query["job"])
            return tally.as_json() if tally else type(counts.total)().as_json()
        return counts.as_json(jobs=query.get("jobs") not in ("0", "false"))

    def _lanes(self, _: dict[str, str]) -> Any:
        now = self.simulator.loop.time()
        return [
            {
                "source": name,
                "key": key[-4:],
                "model": lane.model,
                "admitted": lane.admitted,
                "refused": lane.refused,
                "in_flight": lane.in_flight,
                "max_in_flight": lane.max_in_flight,
                "highest_requests_per_minute": lane.peak_requests.highest,
                "highest_tokens_per_minute": lane.peak_tokens.highest,
                "limits": {
                    name: allowance._asdict()
                    for name, allowance in lane.state(now)._asdict().items()
                    if isinstance(allowance, Allowance)
                }
                | {"concurrency": lane.concurrency},
            }
            for name, source in self.simulator.sources.items()
            for key, lane in source.lanes()
        ]

    def _requests(self, query: dict[str, str]) -> Any:
        job = query.get("job")
        return [entry for entry in self.simulator.remembered() if job is None or entry["job"] == job]

    def _misbehaviours(self, _: dict[str, str]) -> Any:
        return {
            name: {
                "meaning": kind.meaning,
                "value": kind.value or None,
                "default": kind.default if kind.value else None,
                "what": kind.what or None,
            }
            for name, kind in KINDS.items()
        }

    def _configure(self, body: dict[str, Any]) -> Any:
        self.simulator.configure(body)
        return self.simulator.settings

    def _replace_config(self, body: dict[str, Any]) -> Any:
        self.simulator.replace_config(body)
        return self.simulator.settings

    def _key(self, body: dict[str, Any]) -> Any:
        problems: list[str] = []
        section = Section(body, "keys", problems)
        source = self._source(section)
        key = section.any("key")
        if not isinstance(key, str) or not key:
            section.wrong("key", "expected the key")
        state = section.one_of("state", "valid", KEY_STATES)
        section.done()
        if problems:
            raise ConfigError(problems)
        source.set_key(str(key), next(known for known in KEY_STATES if known == state))
        return {"state": state}

    def _misbehave(self, body: dict[str, Any]) -> Any:
        problems: list[str] = []
        rest = dict(body)
        sources = list(self.simulator.sources.values())
        if "source" in rest:
            sources = [self._source(Section({"source": rest.pop("source")}, "misbehave", problems))]
        refusals = {name for source in sources for name in source.dialect.refusals}
        rule = read_misbehaviour(rest, "misbehave", problems, refusals)
        if rule is None:
            raise ConfigError(problems)
        for source in sources:
            source.misbehave(rule, self.simulator.loop.time())
        return {"name": rule.name}

    def _behave(self, _: dict[str, Any]) -> Any:
        for source in self.simulator.sources.values():
            source.behave()
        return {}

    def _pause(self, _: dict[str, Any]) -> Any:
        self.simulator.pause()
        return {"paused": True}

    def _resume(self, _: dict[str, Any]) -> Any:
        return {"paused": False, "released": self.simulator.resume()}

    def _reset(self, _: dict[str, Any]) -> Any:
        bugs = self.simulator.counts.bugs
        self.simulator.reset()
        return {"bugs": bugs}

    def _source(self, section: Section) -> Source:
        sources = self.simulator.sources
        name = section.any("source", "openai")
        if name not in sources:
            section.wrong("source", f"unknown source {name!r}; {nearest(str(name), tuple(sources))}")
            raise ConfigError(section.problems)
        return sources[name]


def _body(request: HttpRequest) -> dict[str, Any]:
    try:
        body = orjson.loads(request.body) if request.body else {}
    except orjson.JSONDecodeError as error:
        raise ControlError(f"the body is not JSON: {error}") from None
    if not isinstance(body, dict):
        raise ControlError("the body is not a JSON object")
    return body
