"""A canary key for every source appears nowhere: not after successes, refusals that echo it, time-outs or crashes.

Nor does anything of a prompt, an answer, a provider's words, a token or a login appear where operators look: logs at
debug, metrics, Flower, the names of keys, Celery's messages and events. (Traces: `tests_foreign/test_traces.py`.)
"""

from __future__ import annotations

import base64
import contextlib
import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple
from urllib.request import Request, urlopen

import pytest
import redis
from front_process import FrontProcess, chat
from installation import WAIT_S, until
from odd_provider import ODD_KEY, OddProvider
from page_visitor import Visitor
from source_installation import NAMES, SourceInstallation, canary_of

from for_each import for_each

pytestmark = pytest.mark.thorough

TEAM, LOGIN_KEY = "d41b0e77a95b-of-the-north", "83c6f2105ef94a7d"
"""Secrets in headers of a connection's own: one written in its configuration, one from the environment."""
KEYS = [
    ODD_KEY,
    TEAM,
    LOGIN_KEY,
    *(canary_of(name, wrong=wrong) for name in NAMES for wrong in (False, True)),
]
PROMPT, ANSWER, WORDS = "planted-prompt-6b1f94", "planted-answer-d07e35", "planted-words-2ac881"
TOKEN, WRONG_TOKEN = "planted-token-97f3b2c4", "planted-wrong-token-e15a08"
PASSWORD = "planted-password-c46d19"
CANARIES = (PROMPT, ANSWER, WORDS, TOKEN, WRONG_TOKEN, PASSWORD)
"""What is secret where operators look, beside the keys. (No word with a part of a key would come through at all.)"""
FRONTS_ANSWERS = ("/metrics", "/openapi.json", "/healthz", "/readyz")
"""What the front tells machines of the whole."""
_SENT = re.compile(r"(?:PUBLISH|LPUSH|EVAL) ")
"""How messages and events travel. (`EVALSHA` is the ledger's, and carries the prompt.)"""
_BODY = re.compile(r'\\?"body\\?": \\?"([A-Za-z0-9+/]+=*)\\?"')
LOGIN = f"tester:{PASSWORD}"


def stretches(key: str) -> list[str]:
    """What betrays a key: any eight of its characters in a row (every fourth start), and its base64."""
    plain = [key[start : start + 8] for start in range(3, len(key) - 7, 4)]
    return [*plain, *(base64.b64encode(key[shift:-4].encode()).decode()[:12] for shift in range(3))]


def betrayed(text: str) -> list[str]:
    """The keys that are found in a text, whole or in part."""
    return [key for key in KEYS if any(stretch in text for stretch in stretches(key))]


def found(text: str) -> list[str]:
    """The keys that are found in a text, whole or in part, and the other canaries."""
    return [*betrayed(text), *(canary for canary in CANARIES if canary in text)]


class Aftermath(NamedTuple):
    """What is left behind and what went by, after everything that can happen to a key."""

    installation: SourceInstallation
    records: str
    wire: str
    """Every command that the server was sent meanwhile: messages, events, announcements."""
    flower: str
    told: str
    """What the caller's commands and errors said."""
    pauses: str
    """Why connections are paused, and why jobs wait for them."""
    front: str
    """What the front shows of the whole."""
    page: str
    """What a person with a browser sees of the front."""
    front_log: str
    """That of its keeper too."""
    flower_log: str


class Wire:
    """Everything that is sent to a server, while it lasts."""

    def __init__(self, url: str) -> None:
        self.lines: list[str] = []
        self._client = redis.Redis.from_url(url, protocol=2)
        self._monitor = self._client.monitor()
        self._monitor.__enter__()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        with contextlib.suppress(redis.ConnectionError):  # the server has ended
            for command in self._monitor.listen():
                self.lines.append(command["command"])

    def end(self) -> None:
        """When the server has ended."""
        self._thread.join(WAIT_S)
        self._client.close()

    def until_quiet(self, marker: str) -> str:
        """All of it so far, and beside it what is in the bodies of messages and events."""
        self._client.publish("tests", marker)
        until(lambda: any(marker in line for line in reversed(self.lines)), "the end of what was sent")
        bodies = (base64.b64decode(body) for line in self.lines for body in _BODY.findall(line))
        return "\n".join([*self.lines, *(body.decode("utf-8", "replace") for body in bodies)])


class Flower:
    """`chatq flower` on a free port."""

    def __init__(self, installation: SourceInstallation) -> None:
        self._errors = (installation.folder / "flower.log").open("wb")
        self._process = subprocess.Popen(
            [str(Path(sys.executable).with_name("chatq")), "flower", "--port", "0"],
            cwd=installation.folder,
            env={**installation.environ, "FLOWER_BASIC_AUTH": LOGIN},
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )

    @property
    def log(self) -> str:
        """What it has logged so far."""
        return Path(self._errors.name).read_text()

    @cached_property
    def url(self) -> str:
        """Where it listens, once it does."""
        assert self._process.stdout is not None
        return self._process.stdout.readline().rpartition(" ")[2].strip()

    def page(self, path: str) -> str:
        """One of its pages, or an answer of its API."""
        login = base64.b64encode(LOGIN.encode()).decode()
        with urlopen(
            Request(f"{self.url}{path}", headers={"authorization": f"Basic {login}"}), timeout=WAIT_S
        ) as answer:
            return str(answer.read().decode())

    def end(self) -> None:
        """SIGTERM."""
        self._process.terminate()
        self._process.wait(WAIT_S)
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._errors.close()


def use(front: FrontProcess) -> str:
    """Ask the front for all kinds of things, with its token and with none that it knows; the id of a batch."""
    asked = front.ask(f"job:canary-front {PROMPT} [sim: say {ANSWER}]", model="openai")
    assert asked.status_code == 200
    assert ANSWER in asked.text
    streamed = front.ask(f"job:canary-stream {PROMPT} [sim: say {ANSWER}]", model="openai", stream=True)
    assert ANSWER in streamed.text
    assert front.ask(f"{PROMPT} [sim: say {ANSWER}]", model="quotes").status_code == 400
    assert front.client.post("/v1/jobs", json={"prompt": PROMPT, "no-such": PROMPT}).status_code == 400
    wrong = {"authorization": f"Bearer {WRONG_TOKEN}"}
    assert front.ask(PROMPT, model="openai", headers=wrong).status_code == 401
    lines = [
        {"custom_id": name, "method": "POST", "url": "/v1/chat/completions", "body": chat(text, model=name)}
        for name, text in {"openai": f"{PROMPT} [sim: say {ANSWER}]", "quotes": PROMPT}.items()
    ]
    uploaded = front.upload(
        "\n".join(map(json.dumps, lines)).encode(), headers={"authorization": f"Bearer {TOKEN}"}
    )
    batch = front.ended(front.batch(uploaded.json()["id"]).json()["id"])
    assert ANSWER in front.client.get(f"/v1/files/{batch['output_file_id']}/content").text
    return str(batch["id"])


def use_page(front: FrontProcess, job_id: str, batch_id: str) -> str:
    """What the front's page shows, of checks too."""
    visitor = Visitor(front.url, TOKEN)
    names = ("openai", "quotes", "echo", "echo-headers", "buggy")
    said = [visitor.press_live(f"/connections/{name}", f"Check {name}").text for name in names]
    paths = ("/", "/login", "/jobs", f"/jobs/{job_id}", "/batches", f"/batches/{batch_id}")
    pages = [visitor.client.get(path) for path in (*paths, *(f"/connections/{name}" for name in names))]
    assert {page.status_code for page in pages} == {200}
    return "\n".join([*said, *(page.text for page in pages)])


def heard(flower: Flower, installation: SourceInstallation) -> bool:
    """Whether Flower hears of a job made now."""
    job = installation.queue.enqueue("openai", "Say hi")
    installation.queue.wait(job.id, WAIT_S)
    return job.id in flower.page("/api/tasks")


@pytest.fixture(scope="module")
def aftermath(tmp_path_factory: pytest.TempPathFactory, odd: OddProvider) -> Iterator[Aftermath]:
    """Successes, refusals, time-outs, a bug and a killed worker, with Flower watching."""
    keyed: dict[str, Any] = {
        "source": "custom", "model": "m", "api_key": "env:TEST_ODD_KEY", "retry": {"max_attempts": 1},
    }  # fmt: skip
    others = {
        "echo": {**keyed, "url": f"{odd.url}/echo-refusal/v1"},
        "echo-headers": {
            **keyed,
            "url": f"{odd.url}/echo-headers/v1",
            "api_key": None,
            "include_headers": {"X-Team": TEAM},
        },
        "silent": {**keyed, "url": f"{odd.url}/silent/v1", "timeout": {"connect": "0.3s", "total": "0.3s"}},
        "buggy": {**keyed, "url": f"{odd.url}/good/v1", "model": "buggy"},
        "unreachable": {**keyed, "url": "http://127.0.0.1:9/v1"},
        "quotes": {**keyed, "url": f"{odd.url}/quotes/v1"},
    }
    odd.words = WORDS
    folder = str(Path(__file__).parent / "fault_in_worker")
    with SourceInstallation(
        tmp_path_factory.mktemp("canary"),
        others=others,
        environ={
            "TEST_ODD_KEY": ODD_KEY,
            "CHATQ_CONNECTIONS__ECHO_HEADERS__INCLUDE_HEADERS__AUTHORIZATION": f"Bearer {LOGIN_KEY}",
            "PYTHONPATH": folder,
        },
        log={"format": "json", "level": "debug"},
        http={"port": 0},
    ) as installation:
        wire, queue = Wire(installation.url), installation.queue
        flower = Flower(installation)
        front = FrontProcess(installation, environ={"CHATQ_HTTP_TOKENS": TOKEN})
        try:
            first = installation.start_worker(fresh=True)
            until(partial(heard, flower, installation), "Flower to hear: events that nobody hears are gone")
            jobs = [queue.enqueue(name, f"job:canary-{name} {PROMPT} [sim: say {ANSWER}]") for name in NAMES]
            jobs += [queue.enqueue(f"wrong-{name}", PROMPT) for name in NAMES]
            jobs += [queue.enqueue(name, PROMPT) for name in others]
            first.expect("fault in chatq")
            until(
                lambda: all(queue.get(job.id).attempts or queue.get(job.id).final for job in jobs),
                "the jobs to be tried",
            )
            installation.hold_answers()
            held = queue.enqueue("openai", "job:held Say hi")
            installation.await_in_flight(1)
            first.kill()
            second = installation.start_worker(fresh=True)
            second.expect("fault in chatq")
            installation.release_answers()
            told = [queue.check(name).model_dump_json() for name in others]
            told += [json.dumps(queue.models(name)) for name in ("openai", "wrong-claude")]
            actions = ("list", "check echo", "test echo", "check echo-headers", "test echo-headers")
            commands = ["status", f"why {jobs[-1].id}", *(f"connections {action}" for action in actions)]
            for ended in (installation.command(*words.split()) for words in commands):
                told.append(ended.stdout + ended.stderr)
            assert queue.wait(held.id, WAIT_S).state == "succeeded"
            with front:
                front.client.headers["authorization"] = f"Bearer {TOKEN}"
                batch = use(front)
                shown = [front.client.get(path).text for path in FRONTS_ANSWERS]
                page = use_page(front, jobs[0].id, batch)
            pages = [flower.page(f"/api/task/info/{job.id}") for job in (*jobs[:3], *jobs[-4:])]
            pages += [flower.page(f"/task/{job.id}") for job in jobs[-4:]]
            pages += [
                flower.page(path)
                for path in ("/api/tasks", "/api/workers?refresh=1", "/workers", "/tasks", "/")
            ]
            yield Aftermath(
                installation,
                "\n".join(queue.get(job.id).model_dump_json() for job in (*jobs, held)),
                wire.until_quiet("the end of the wire"),
                "\n".join(pages),
                "\n".join(told),
                "\n".join([repr(queue.overview()), *(queue.why(job.id).model_dump_json() for job in jobs)]),
                "\n".join(shown),
                page,
                front.errors.read_text(),
                flower.log,
            )
        finally:
            flower.end()
    wire.end()


def test_the_search_finds_a_key_wherever_it_is_planted() -> None:
    for key in KEYS:
        assert betrayed(f"the key {key} is wrong") == [key]
        assert betrayed(f"the key {key[:14]}... is wrong") == [key]
        assert betrayed(base64.b64encode(f"x{key}".encode()).decode()) == [key]


def test_the_keys_were_really_used(aftermath: Aftermath, odd: OddProvider) -> None:
    assert f"Bearer {ODD_KEY}" in {
        asked.headers["authorization"] for asked in odd.asked_below("echo-refusal")
    }
    [*_, echoed] = odd.asked_below("echo-headers")
    assert (echoed.headers["x-team"], echoed.headers["authorization"]) == (TEAM, f"Bearer {LOGIN_KEY}")
    states = [json.loads(record)["state"] for record in aftermath.records.splitlines()]
    assert states[: len(NAMES)] == ["succeeded"] * len(NAMES)
    assert '"code":"internal"' in aftermath.records
    assert '"code":"timeout"' in aftermath.records
    assert states[len(NAMES) : 2 * len(NAMES)] == ["queued"] * len(NAMES)
    assert aftermath.records.count('"error_code":"unauthorized","counted":false') >= len(NAMES)
    assert "[key]" in aftermath.pauses
    assert "Team [header] may not, with [header]: [key] is unknown" in aftermath.records
    assert "Team [header] may not, with [header]: [key] is unknown" in aftermath.told


def test_no_key_is_in_a_record_or_an_error(aftermath: Aftermath) -> None:
    assert betrayed(aftermath.records) == []


def test_no_key_is_in_what_is_said_of_a_pause(aftermath: Aftermath) -> None:
    assert betrayed(aftermath.pauses) == []


def test_no_key_is_told_to_the_caller_but_the_ends_of_long_ones(aftermath: Aftermath) -> None:
    assert betrayed(aftermath.told) == []
    assert f"...{ODD_KEY[-4:]}" in aftermath.told


def test_no_key_is_in_redis(aftermath: Aftermath) -> None:
    dump = "\n".join(everything(aftermath.installation.redis))
    assert "chatq:settings" in dump
    assert betrayed(dump) == []


def test_no_key_is_in_what_the_server_writes_to_disk(aftermath: Aftermath) -> None:
    files = [path for path in aftermath.installation.data.rglob("*") if path.is_file()]
    history = "".join(path.read_bytes().decode("latin-1") for path in files)
    assert "chatq:result:" in history
    assert betrayed(history) == []


def test_no_key_is_in_a_message_an_event_or_an_announcement(aftermath: Aftermath) -> None:
    assert "task-succeeded" in aftermath.wire
    assert "chatq.complete" in aftermath.wire
    assert betrayed(aftermath.wire) == []


def test_no_key_is_in_flower(aftermath: Aftermath) -> None:
    assert "unauthorized: The provider answered 401." in aftermath.flower
    assert "internal: A fault in chatq: RuntimeError" in aftermath.flower
    assert betrayed(aftermath.flower) == []


def test_no_key_is_in_a_process_list(aftermath: Aftermath) -> None:
    worker = aftermath.installation.workers[-1]
    assert betrayed(Path(f"/proc/{worker.pid}/cmdline").read_text()) == []


def test_the_embedded_server_does_not_inherit_the_keys(aftermath: Aftermath) -> None:
    process = aftermath.installation.redis.info("server")["process_id"]
    assert betrayed(Path(f"/proc/{process}/environ").read_text()) == []


@for_each(
    ("place", "proof"),
    [
        ("worker", '"level":"debug"'),
        ("front's log", '"process":"keeper"'),
        ("Flower's log", '"process":"flower"'),
        ("front", "chatq_jobs_ended_total"),
        ("Flower", "internal: A fault in chatq: RuntimeError"),
        ("names of keys", "chatq:settings"),
        ("messages and events", "task-succeeded"),
        ("messages and events", "chatq.complete"),
    ],
)
def test_nothing_secret_is_where_operators_look(aftermath: Aftermath, place: str, proof: str) -> None:
    told = {
        "worker": "\n".join(worker.log for worker in aftermath.installation.workers),
        "front's log": aftermath.front_log,
        "Flower's log": aftermath.flower_log,
        "front": aftermath.front,
        "Flower": aftermath.flower,
        "names of keys": "\n".join(aftermath.installation.every_key()),
        "messages and events": "\n".join(
            line for line in aftermath.wire.splitlines() if _SENT.match(line) or line.startswith(("{", "["))
        ),
    }[place]
    assert proof in told
    assert found(told) == []


def test_on_the_page_are_the_providers_words_alone(aftermath: Aftermath) -> None:
    """Who may see the connection sees why it is refused."""
    assert "/connections/quotes" in aftermath.page
    assert set(found(aftermath.page)) == {WORDS}


def test_the_canaries_were_really_used(aftermath: Aftermath) -> None:
    assert PROMPT in aftermath.wire
    assert ANSWER in aftermath.records
    assert f"{WORDS}, in " in aftermath.records


def everything(client: Any) -> Iterator[str]:
    """Every key of a server with its value."""
    readers = {
        "string": lambda key: client.get(key),
        "hash": lambda key: client.hgetall(key),
        "set": lambda key: client.smembers(key),
        "zset": lambda key: client.zrange(key, 0, -1, withscores=True),
        "list": lambda key: client.lrange(key, 0, -1),
        "stream": lambda key: client.xrange(key),
    }
    for key in client.scan_iter(count=1000):
        yield f"{key} {readers[client.type(key)](key)!r}"
