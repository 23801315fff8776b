"""What a user can write wrongly, and what a server can answer wrongly: a clear error, and the worker lives on."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from installation import chatq
from odd_provider import ODD_KEY, OddProvider
from source_installation import SourceInstallation

from for_each import for_each

CONNECTIONS = {
    "unknown-source": {"source": "opnai"},
    "no-url": {"source": "custom"},
    "no-such-scheme": {"source": "custom", "url": "ftp://127.0.0.1/v1"},
    "no-host": {"source": "custom", "url": "http:///v1"},
    "no-port": {"source": "custom", "url": "http://127.0.0.1:port/v1"},
    "spaces": {"source": "custom", "url": "http://127.0.0.1/a b"},
    "query": {"source": "custom", "url": "http://127.0.0.1/v1?key=canary"},
    "password": {"source": "custom", "url": "http://user:canary@127.0.0.1/v1"},
    "header": {"source": "openai", "auth_header": "x-api-key"},
    "written-out": {"source": "openai", "api_key": "sk-canary-0123456789"},
    "no-name": {"source": "openai", "api_key": "env:A\nB"},
    "no-path": {"source": "openai", "api_key": "file:"},
    "other-api": {"source": "openai", "api": "sonar"},
    "typo": {"source": "openai", "api_kye": "env:KEY"},
}
SAID = {
    "unknown-source.source": "openai",
    "no-url.url": "a custom connection must have one",
    "no-such-scheme.url": "begins with http:// or https://",
    "no-host.url": "a URL with a host",
    "no-port.url": "wrong host or port",
    "spaces.url": "without spaces",
    "query.url": "without ? and #",
    "password.url": "without user and password; give a key with api_key",
    "header.auth_header": "only a connection with source: custom",
    "written-out.api_key": "env:NAME",
    "no-name.api_key": "name of an environment variable",
    "no-path.api_key": "path of a file",
    "other-api.api": "only source: perplexity",
    "typo.api_kye": "api_key",
}


@pytest.fixture(scope="module")
def refused(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What a command says to a config.yaml that has all of it."""
    folder: Path = tmp_path_factory.mktemp("wrong")
    (folder / "config.yaml").write_text(json.dumps({"connections": CONNECTIONS}, indent=1))
    ended = chatq("connections", "list", folder=folder, environ={"PATH": "/usr/bin:/bin"})
    assert (ended.returncode, ended.stdout) == (2, "")
    return ended.stderr


@for_each("key", SAID)
def test_a_wrong_connection_is_told_by_place_and_remedy_with_all_the_others(refused: str, key: str) -> None:
    [line] = [line for line in refused.splitlines() if f"connections.{key}" in line]
    assert re.match(r".*config\.yaml:\d+", line)
    assert SAID[key] in line


def test_what_may_be_a_secret_is_not_repeated(refused: str) -> None:
    assert "canary" not in refused
    assert "Traceback" not in refused


@for_each("action", ["list", "check", "models", "test"])
def test_a_connection_that_is_none_is_an_error_that_names_the_nearest(
    sources: SourceInstallation, action: str
) -> None:
    ended = sources.command("connections", action, "opnai")
    assert ended.returncode != 0
    assert "openai" in ended.stderr
    assert "Traceback" not in ended.stderr


@for_each(
    ("place", "code", "message"),
    [
        ("redirect", "redirected", "307"),
        ("huge", "answer_too_large", "larger than 8,388,608 bytes"),
        ("bomb", "answer_too_large", "larger than 8,388,608 bytes"),
        ("bad-utf8", "bad_answer", "not JSON"),
        ("nan", "bad_answer", "not JSON"),
        ("deep", "bad_answer", "not JSON"),
        ("not-gzip", "bad_answer", "not compressed as it says"),
        ("half-gzip", "bad_answer", "cut off"),
        ("brotli", "bad_answer", "was not asked for"),
        ("html", "bad_answer", "a web page"),
        ("silent", "timeout", "within 0.3 s"),
    ],
)
def test_a_wrong_answer_fails_the_job_and_the_worker_lives_on(
    sources: SourceInstallation, place: str, code: str, message: str
) -> None:
    record = sources.run(f"odd-{place}", "Say hi")
    assert record.state == "failed"
    assert record.error is not None
    assert record.error.code == code
    assert message in record.error.message
    assert record.error.remedy
    assert sources.run("odd-good", "Say hi").state == "succeeded"


def test_a_redirect_is_not_followed_and_takes_no_key_elsewhere(
    sources: SourceInstallation, odd: OddProvider
) -> None:
    sources.run("odd-redirect", "Say hi")
    sources.queue.check("odd-redirect")
    assert odd.asked_below("redirect")
    assert odd.asked_below("caught") == []


def test_fifty_megabytes_leave_the_worker_small(sources: SourceInstallation) -> None:
    [worker] = sources.workers
    for place in ("huge", "bomb"):
        sources.run(f"odd-{place}", "Say hi")
    peak_kb = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{worker.pid}/status").read_text())
    assert peak_kb is not None
    assert int(peak_kb[1]) < 400_000


@pytest.mark.parametrize(
    ("connection", "header"),
    [("odd-good", ("authorization", f"Bearer {ODD_KEY}")), ("x-api-key", ("x-api-key", ODD_KEY))],
)
def test_the_key_travels_in_the_header_that_was_chosen(
    sources: SourceInstallation, odd: OddProvider, connection: str, header: tuple[str, str]
) -> None:
    before = len(odd.asked)
    assert sources.run(connection, "Say hi").state == "succeeded"
    [asked] = odd.asked[before:]
    carried = {name: asked.headers[name] for name in ("authorization", "x-api-key") if name in asked.headers}
    assert carried == dict([header])


def test_a_connection_without_a_key_sends_none(sources: SourceInstallation, odd: OddProvider) -> None:
    before = len(odd.asked)
    assert sources.run("keyless", "Say hi").state == "succeeded"
    [asked] = odd.asked[before:]
    assert not {"authorization", "x-api-key"} & set(asked.headers)


@for_each(
    "connection", ["no-key", "empty-key", "newline-key", "file-missing", "file-readable", "file-two-lines"]
)
def test_a_key_that_cannot_be_read_sends_nothing(
    sources: SourceInstallation, odd: OddProvider, connection: str
) -> None:
    before = len(odd.asked)
    assert sources.queue.check(connection).state == "unauthorized"
    assert len(odd.asked) == before


def test_the_list_tells_which_keys_are_set_and_the_ends_of_long_ones_only(
    sources: SourceInstallation,
) -> None:
    ended = sources.command("connections", "list", "--json")
    keys = {row["connection"]: row["key"] for row in json.loads(ended.stdout)}
    assert keys["odd-good"] == keys["file-good"] == f"...{ODD_KEY[-4:]}"
    assert keys["keyless"] == "none"
    assert keys["short-key"] == "set"
    assert {keys[name] for name in ("no-key", "empty-key", "newline-key", "file-readable")} == {"missing"}


def test_the_list_says_of_a_connection_whose_check_failed_that_it_did(sources: SourceInstallation) -> None:
    for connection in ("no-key", "odd-good"):
        sources.queue.check(connection)
    listed = {line.split()[0]: line for line in sources.command("connections", "list").stdout.splitlines()}
    assert listed["no-key"].endswith("  check failed")
    assert listed["odd-good"].endswith("  ready")


def test_the_list_says_where_the_missing_keys_of_each_source_are_made(sources: SourceInstallation) -> None:
    ended = sources.command("connections", "list")
    assert ended.returncode == 0
    told = [line for line in ended.stderr.splitlines() if line.startswith("keys for ")]
    assert told == [
        "keys for ai21: studio.ai21.com, Account, API key",
        "keys for claude: platform.claude.com, API keys",
        "keys for cohere: dashboard.cohere.com, API keys",
        "keys for custom: your server's own configuration",
        "keys for deepseek: platform.deepseek.com, API keys",
        "keys for electronhub: app.electronhub.ai, Dashboard, API keys",
        "keys for fireworks: app.fireworks.ai, API keys",
        "keys for mistralai: console.mistral.ai, API keys",
        "keys for openai: platform.openai.com, API keys",
        "keys for perplexity: perplexity.ai, Settings, API",
    ]
    one = sources.command("connections", "list", "keyless-openai")
    assert "keys for openai" in one.stderr
    assert "keys for claude" not in one.stderr


@pytest.mark.parametrize(
    ("connection", "taken_off"), [("pasted-url", "/chat/completions"), ("slash-url", "/")]
)
def test_what_is_taken_off_a_url_is_said_and_the_rest_is_asked(
    sources: SourceInstallation, odd: OddProvider, connection: str, taken_off: str
) -> None:
    before = len(odd.asked)
    assert sources.run(connection, "Say hi").state == "succeeded"
    assert [asked.path for asked in odd.asked[before:]] == ["/good/v1/chat/completions"]
    ended = sources.command("connections", "check", connection)
    assert ended.returncode == 0
    said = f"connections.{connection}.url: {taken_off} is taken off; the base URL is {odd.url}/good/v1"
    assert said in ended.stderr
    assert said in sources.command("doctor").stdout


def test_a_check_from_the_command_line_tells_state_reason_and_remedy(sources: SourceInstallation) -> None:
    ended = sources.command("connections", "check", "file-readable")
    assert ended.returncode == 1
    first, message, remedy = ended.stdout.splitlines()
    assert first.startswith("file-readable: unauthorized")
    assert "can be read by others" in message
    assert "chmod 600" in remedy


def test_a_test_message_tells_text_model_latency_and_tokens(sources: SourceInstallation) -> None:
    ended = sources.command("connections", "test", "odd-good")
    assert (ended.returncode, ended.stdout) == (0, "Hi\n")
    assert re.search(r"m: \d+\.\d\d s, 1 \+ 1 tokens", ended.stderr)


def test_a_test_message_tells_the_cost_where_the_provider_does(sources: SourceInstallation) -> None:
    ended = sources.command("connections", "test", "perplexity")
    assert ended.returncode == 0
    assert re.search(r"gpt-5\.2: \d+\.\d\d s, \d+ \+ \d+ tokens, cost \$\d+\.\d{4,}\n", ended.stderr)


def test_a_test_message_is_a_job_like_any_other_with_a_small_cap(sources: SourceInstallation) -> None:
    record = sources.queue.test_message("mistralai")
    assert record.state == "succeeded"
    assert sources.queue.get(record.id) == record
    latest = sources.simulator.control("GET", "requests")[-1]["body"]
    assert latest["max_tokens"] == 64
    assert [message["role"] for message in latest["messages"]] == ["user"]


def test_an_empty_answer_to_the_test_message_is_not_a_success(sources: SourceInstallation) -> None:
    ended = sources.command("connections", "test", "odd-empty-text")
    assert ended.returncode == 1
    assert "(an empty answer)" in ended.stdout


def test_a_test_message_that_fails_tells_the_providers_words_and_the_remedy(
    sources: SourceInstallation,
) -> None:
    ended = sources.command("connections", "test", "wrong-openai")
    assert ended.returncode == 1
    assert "Incorrect API key provided: [key]" in ended.stderr
    assert "make a new one" in ended.stderr


def test_models_are_listed_with_the_moment_at_which_the_source_was_asked(
    sources: SourceInstallation, odd: OddProvider
) -> None:
    first = sources.command("connections", "models", "odd-good")
    assert (first.returncode, first.stdout) == (0, "m\ngpt-5-mini\nother\n")
    assert re.search(
        r"^3 models, as listed at 20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$", first.stderr, re.MULTILINE
    )
    before = len(odd.asked)
    second = sources.command("connections", "models", "odd-good", "--json")
    assert json.loads(second.stdout) == ["m", "gpt-5-mini", "other"]
    assert second.stderr == first.stderr
    assert len(odd.asked) == before


def test_a_connection_without_a_list_takes_any_model_by_hand(sources: SourceInstallation) -> None:
    ended = sources.command("connections", "models", "odd-no-list")
    assert (ended.returncode, ended.stdout.strip()) == (0, "")
    assert "name the model yourself" in ended.stderr
    assert sources.run("odd-no-list", "Say hi", model="anything/at:all").state == "succeeded"
