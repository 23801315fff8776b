"""The settings as models: defaults, what each field takes, and the relations between them."""

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from chatq.contract.settings import Connection, KeyReference, Redis, Settings
from for_each import for_each


def settings(**sections: Any) -> Settings:
    return Settings.model_validate(sections)


def connection(**keys: Any) -> Connection:
    return Connection.model_validate({"source": "openai", **keys})


def custom(**keys: Any) -> Connection:
    return Connection.model_validate({"source": "custom", "url": "http://127.0.0.1:5000/v1", **keys})


def problems_of(data: dict[str, Any]) -> list[tuple[str, str]]:
    """(key path, message) of each problem of `data` as settings."""
    with pytest.raises(ValidationError) as caught:
        Settings.model_validate(data)
    return [
        (".".join(str(part) for part in error["loc"]), error["msg"].removeprefix("Value error, "))
        for error in caught.value.errors()
    ]


def problem_of_connection(**keys: Any) -> tuple[str, str]:
    """The one problem of a connection, the path as seen from it."""
    [(path, message)] = problems_of({"connections": {"one": {"source": "openai", **keys}}})
    return path.removeprefix("connections.one."), message


# Defaults: the public interface promises each of them.


def test_every_setting_has_the_promised_default() -> None:
    made = settings().model_dump(by_alias=True)

    assert made == {
        "promptPlaceholder": "[Start a new chat]",
        "redis": {"url": "embedded:.chatq", "broker_url": None, "key_prefix": "chatq", "fsync": "always"},
        "worker": {"slots": 1000, "processes": 1, "lease": 30.0, "grace": 30.0},
        "bounds": {
            "backlog": {"jobs": 5000000, "bytes": 4294967296},
            "job_bytes": 8388608,
            "answer_bytes": 33554432,
        },
        "results": {"keep": 604800.0},
        "http": {
            "host": "127.0.0.1",
            "port": 8400,
            "tokens_file": None,
            "allow_hosts": ("localhost", "127.0.0.1"),
            "folder": ".chatq/http",
            "upload_bytes": 2147483648,
            "waiting": 10000,
            "webhooks": {"hosts": (), "internal": False, "secret": None},
        },
        "log": {"level": "info", "format": "auto"},
        "connections": {},
    }


def test_every_setting_of_a_connection_has_the_promised_default() -> None:
    assert connection().model_dump() == {
        "source": "openai",
        "model": None,
        "api": None,
        "url": None,
        "api_key": None,
        "post_processing": "none",
        "bypass_status_check": False,
        "timeout": {"connect": 10.0, "total": 600.0},
        "limits": {
            "requests_per_minute": None,
            "tokens_per_minute": None,
            "requests_per_day": None,
            "concurrency": None,
            "scope": None,
        },
        "retry": {"max_attempts": 6, "max_elapsed": 3600.0, "on_worker_lost": "retry"},
        "params": {},
        "fallback": (),
        "budget": None,
        "price": None,
        "auth_header": "bearer",
        "include_headers": {},
        "include_body": {},
        "exclude_body": (),
    }


def test_settings_cannot_be_changed() -> None:
    made = settings()

    with pytest.raises(ValidationError, match="frozen"):
        made.worker.slots = 5  # type: ignore[misc]


def test_settings_survive_the_way_to_another_process() -> None:
    made = settings(connections={"one": {"source": "openai", "api_key": "env:KEY"}}).loaded(
        Path("/c"), ("n",), ()
    )

    back = pickle.loads(pickle.dumps(made))

    assert back == made
    assert (back.source_path, back.notices) == (Path("/c"), ("n",))


def test_importing_the_settings_loads_neither_yaml_nor_celery_nor_an_http_client() -> None:
    code = (
        "import sys, chatq.contract.settings; "
        "print({'yaml', 'celery', 'kombu', 'flower', 'httpx', 'aiohttp'} & set(sys.modules))"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "set()\n"


@for_each("section", ["redis", "worker", "bounds", "results", "http", "log", "connections"])
def test_a_section_with_nothing_in_it_means_its_defaults(section: str) -> None:
    assert settings(**{section: None}) == settings()


# Fields.


@for_each(
    ("data", "path"),
    [
        ({"worker": {"slots": 0}}, "worker.slots"),
        ({"worker": {"slots": True}}, "worker.slots"),
        ({"worker": {"slots": 1.0}}, "worker.slots"),
        ({"worker": {"slots": "50"}}, "worker.slots"),
        ({"worker": {"slots": 10**13}}, "worker.slots"),
        ({"worker": {"processes": 0}}, "worker.processes"),
        ({"worker": {"lease": "999ms"}}, "worker.lease"),
        ({"worker": {"grace": -1}}, "worker.grace"),
        ({"bounds": {"backlog": {"jobs": 0}}}, "bounds.backlog.jobs"),
        ({"bounds": {"backlog": {"bytes": 0}}}, "bounds.backlog.bytes"),
        ({"bounds": {"job_bytes": 0}}, "bounds.job_bytes"),
        ({"bounds": {"job_bytes": "449MiB"}}, "bounds.job_bytes"),
        ({"bounds": {"answer_bytes": "449MiB"}}, "bounds.answer_bytes"),
        ({"results": {"keep": 0}}, "results.keep"),
        ({"http": {"port": 65536}}, "http.port"),
        ({"http": {"port": -1}}, "http.port"),
        ({"http": {"host": "http://localhost"}}, "http.host"),
        ({"http": {"allow_hosts": "localhost"}}, "http.allow_hosts"),
        ({"http": {"tokens_file": ""}}, "http.tokens_file"),
        ({"log": {"level": "verbose"}}, "log.level"),
        ({"log": {"format": "xml"}}, "log.format"),
        ({"redis": {"fsync": "no"}}, "redis.fsync"),
        ({"redis": {"key_prefix": ""}}, "redis.key_prefix"),
        ({"redis": {"key_prefix": "a:b"}}, "redis.key_prefix"),
        ({"redis": {"key_prefix": "{a}"}}, "redis.key_prefix"),
        ({"redis": {"key_prefix": "a*"}}, "redis.key_prefix"),
        ({"redis": {"key_prefix": "x" * 65}}, "redis.key_prefix"),
        ({"promptPlaceholder": " "}, "promptPlaceholder"),
        ({"prompt_placeholder": "x"}, "prompt_placeholder"),
        ({"http_tokens": ["x"]}, "http_tokens"),
        ({"notices": []}, "notices"),
    ],
)
def test_a_setting_refuses_what_it_cannot_be(data: dict[str, Any], path: str) -> None:
    assert [where for where, _ in problems_of(data)] == [path]


def test_the_log_level_may_be_written_in_capitals() -> None:
    assert settings(log={"level": "WARNING"}).log.level == "warning"


@for_each("name", ["a", "0", "openai-main", "gpt-5.4_mini", "x" * 64])
def test_a_connection_id_is_small_letters_digits_dots_dashes_underscores(name: str) -> None:
    assert list(settings(connections={name: {"source": "openai"}}).connections) == [name]


@for_each("name", ["", "A", "-a", ".a", "a b", "ä", "a/b", "a:b", "x" * 65, "a\n"])
def test_another_connection_id_is_refused(name: str) -> None:
    [(_, message)] = problems_of({"connections": {name: {"source": "openai"}}})

    assert message == "a connection ID is 1 to 64 of a-z 0-9 . _ - and begins with a letter or digit"


@for_each(
    "keys",
    [
        {"post_processing": "squash"},
        {"bypass_status_check": "maybe"},
        {"model": ""},
        {"model": 4},
        {"timeout": {"connect": 0}},
        {"limits": {"requests_per_minute": 0}},
        {"limits": {"tokens_per_minute": 1.5}},
        {"limits": {"requests_per_day": -1}},
        {"limits": {"concurrency": "64"}},
        {"limits": {"scope": ""}},
        {"retry": {"max_attempts": 0}},
        {"retry": {"max_elapsed": 0}},
        {"retry": {"on_worker_lost": "give-up"}},
        {"params": []},
        {"params": {"a": object()}},
        {"fallback": "other"},
        {"budget": {"per_day_usd": 0}},
        {"budget": {}},
        {"budget": 20},
        {"price": {"input_per_million": 1}},
        {"price": {"input_per_million": -1, "output_per_million": 1}},
        {"price": {"input_per_million": float("inf"), "output_per_million": 1}},
        {"source": "openrouter"},
        {"sorce": "openai"},
    ],
)
def test_a_connection_refuses_what_its_settings_cannot_be(keys: dict[str, Any]) -> None:
    problem_of_connection(**keys)


@for_each(
    "source",
    ["openai", "claude", "mistralai", "deepseek", "ai21", "cohere", "perplexity", "fireworks", "electronhub"],
)
def test_a_source_needs_nothing_but_its_name(source: str) -> None:
    assert Connection.model_validate({"source": source}).source == source


@for_each("mode", ["none", "merge", "merge_tools", "semi", "semi_tools", "strict", "strict_tools", "single"])
def test_there_are_eight_ways_of_post_processing(mode: str) -> None:
    assert connection(post_processing=mode).post_processing == mode


@for_each(("word", "truth"), [("yes", True), ("On", True), ("no", False), ("OFF", False)])
def test_a_switch_takes_the_words_of_older_yaml(word: str, truth: bool) -> None:
    assert connection(bypass_status_check=word).bypass_status_check is truth


# Keys.


@for_each(
    ("written", "reference"),
    [
        ("env:OPENAI_API_KEY", KeyReference("env", "OPENAI_API_KEY")),
        ("env:_k1", KeyReference("env", "_k1")),
        ("file:keys/openai", KeyReference("file", "keys/openai")),
        ("file:/run/secrets/key", KeyReference("file", "/run/secrets/key")),
        (None, None),
    ],
)
def test_a_key_is_a_reference_to_a_variable_or_a_file(
    written: str | None, reference: KeyReference | None
) -> None:
    assert connection(api_key=written).api_key == reference


def test_a_key_reference_is_written_as_it_was_read() -> None:
    assert connection(api_key="env:KEY").model_dump()["api_key"] == "env:KEY"


@for_each("written", ["sk-verysecret1234", "hunter2", "", "$KEY", "ENV:KEY", "https://x/y"])
def test_a_key_written_out_is_refused_with_the_way_to_do_it_right(written: str) -> None:
    path, message = problem_of_connection(api_key=written)

    assert path == "api_key"
    assert message == (
        "a key is not written here, where it would be copied and committed; put it into an environment "
        "variable and write env:NAME, or into a file of its own and write file:PATH"
    )


@for_each("written", ["env:", "env:sk-verysecret1234", "env: KEY", "env:$KEY", "env:1A"])
def test_a_key_pasted_behind_env_is_refused_without_repeating_it(written: str) -> None:
    _, message = problem_of_connection(api_key=written)

    assert message == (
        "expected env:NAME with the name of an environment variable, such as env:OPENAI_API_KEY"
    )


@for_each("written", [12, True, ["env:KEY"], {"kind": "env", "name": "KEY"}])
def test_a_key_of_another_kind_is_refused(written: object) -> None:
    assert problem_of_connection(api_key=written) == ("api_key", "expected null, env:NAME or file:PATH")


# Base URLs.


@for_each(
    ("written", "url"),
    [
        ("http://127.0.0.1:5000/v1", "http://127.0.0.1:5000/v1"),
        ("http://127.0.0.1:5000/v1/", "http://127.0.0.1:5000/v1"),
        ("http://127.0.0.1:5000/v1/chat/completions", "http://127.0.0.1:5000/v1"),
        ("http://127.0.0.1:5000/v1/chat/completions//", "http://127.0.0.1:5000/v1"),
        ("https://gateway.example.com", "https://gateway.example.com"),
        ("https://gateway.example.com/", "https://gateway.example.com"),
        ("HTTPS://Gateway.Example.com/Path", "https://gateway.example.com/Path"),
        ("http://[::1]:8000/v1", "http://[::1]:8000/v1"),
        ("http://llm_server:8000", "http://llm_server:8000"),
        ("simulator", "simulator"),
    ],
)
def test_a_base_url_has_no_slash_and_no_endpoint_at_its_end(written: str, url: str) -> None:
    assert custom(url=written).url == url


@for_each(
    ("written", "expected"),
    [
        ("127.0.0.1:5000/v1", "expected a URL that begins with http:// or https://, or simulator"),
        ("ftp://example.com", "expected a URL that begins with http:// or https://, or simulator"),
        ("simulated", "expected a URL that begins with http:// or https://, or simulator"),
        ("http://", "expected a URL with a host, such as http://127.0.0.1:5000/v1"),
        ("http://:5000/v1", "expected a URL with a host, such as http://127.0.0.1:5000/v1"),
        (
            "http://me:hunter2@example.com/v1",
            "expected a URL without user and password; give a key with api_key",
        ),
        (
            "http://hunter2@example.com/v1",
            "expected a URL without user and password; give a key with api_key",
        ),
        (
            "https://example.com/v1?key=hunter2",
            "expected a URL without ? and #, as the endpoint's path is put behind it",
        ),
        (
            "https://example.com/v1#",
            "expected a URL without ? and #, as the endpoint's path is put behind it",
        ),
        ("http://example.com /v1", "expected a URL without spaces and backslashes"),
        ("http://example.com\\v1", "expected a URL without spaces and backslashes"),
        (
            "http://example.com:hunter2/v1",
            "expected a URL such as https://api.example.com/v1, got one with a wrong host or port",
        ),
        (
            "http://[::1/v1",
            "expected a URL such as https://api.example.com/v1, got one with a wrong host or port",
        ),
    ],
)
def test_another_base_url_is_refused_without_repeating_it(written: str, expected: str) -> None:
    assert problem_of_connection(url=written) == ("url", expected)


# Redis and broker.


@for_each(
    "url",
    [
        "redis://localhost",
        "redis://localhost:6379/0",
        "redis://user:pass@redis.example.com:6380/2?health_check_interval=10",
        "rediss://:pass@redis.example.com:6380",
        "redis+socket:///run/redis/redis.sock",
        "redis+socket://user:pass@/run/redis/redis.sock?virtual_host=1",
        "unix:///run/redis.sock",
        "sentinel://one:26379",
        "sentinel://one:26379;sentinel://two:26379/0",
        "sentinel://:pass@one:26379,two:26379/mymaster",
    ],
)
def test_the_server_is_named_by_a_url_of_a_kind_that_carries_the_ledger(url: str) -> None:
    assert Redis(url=url).url == url


@pytest.mark.parametrize(
    ("written", "folder"),
    [("embedded", ".chatq"), ("embedded:data", "data"), ("embedded:/var/chatq", "/var/chatq")],
)
def test_an_embedded_server_keeps_its_data_in_a_folder(written: str, folder: str) -> None:
    assert Redis(url=written).embedded_folder == Path(folder)


def test_another_server_has_no_embedded_folder() -> None:
    assert Redis(url="redis://localhost").embedded_folder is None


@for_each(
    "url",
    [
        "localhost:6379",
        "http://localhost",
        "amqp://localhost",
        "redis://",
        "redis://:pass@",
        "redis://localhost:port",
        "redis:localhost",
        "redis+socket://run/redis.sock",
        "unix://",
        "sentinel://",
        "sentinel://one:26379;sentinel://",
        "embedded:",
        "embedded://data",
        "Embedded",
        "redis://local host",
    ],
)
def test_another_server_url_is_refused(url: str) -> None:
    [(path, message)] = problems_of({"redis": {"url": url}})

    assert path == "redis.url"
    assert message.startswith("expected ")


def test_a_refused_server_url_is_not_repeated() -> None:
    [(_, message)] = problems_of({"redis": {"url": "redis://:hunter2@host:port"}})

    assert message == "expected redis://HOST:PORT, got one with a wrong host or port"


@pytest.mark.parametrize(
    "url", ["amqp://guest:guest@rabbit:5672//", "amqps://rabbit", "redis://other:6379/1"]
)
def test_the_broker_may_be_another_server(url: str) -> None:
    assert Redis(broker_url=url).broker_url == url


@for_each("url", ["embedded", "sqs://x", "memory://", "rabbit:5672"])
def test_another_broker_is_refused(url: str) -> None:
    assert [path for path, _ in problems_of({"redis": {"broker_url": url}})] == ["redis.broker_url"]


def test_a_server_url_is_shown_without_its_password() -> None:
    assert Redis(url="redis://user:pa:ss@w@host:6379/0").masked_url == "redis://***@host:6379/0"


def test_printing_settings_shows_no_password_and_no_header() -> None:
    made = settings(
        redis={"url": "redis://:hunter2@host", "broker_url": "amqp://me:hunter2@host"},
        connections={
            "one": {
                "source": "custom",
                "url": "simulator",
                "include_headers": {"X-Team": "hunter2"},
                "include_body": {"token": "hunter2"},
            }
        },
    )

    assert "hunter2" not in repr(made) + str(made)


# Relations.


def test_a_custom_connection_must_have_a_url() -> None:
    assert problems_of({"connections": {"one": {"source": "custom"}}}) == [
        (
            "connections.one.url",
            "missing; a custom connection must have one, such as http://127.0.0.1:5000/v1 or simulator",
        )
    ]


@for_each(
    ("key", "value"),
    [
        ("auth_header", "x-api-key"),
        ("auth_header", "bearer"),
        ("include_headers", {"X-Team": "a"}),
        ("include_body", {"a": 1}),
        ("exclude_body", ["a"]),
    ],
)
def test_additions_to_the_request_are_for_custom_connections_only(key: str, value: object) -> None:
    assert problem_of_connection(**{key: value}) == (
        key,
        "only a connection with source: custom may have it; this one has openai",
    )
    assert custom(**{key: value}).source == "custom"


@pytest.mark.parametrize("key", ["include_headers", "include_body", "exclude_body"])
def test_an_empty_addition_is_harmless_anywhere(key: str) -> None:
    assert connection(**{key: None}) == connection()


@pytest.mark.parametrize("api", ["agent", "sonar"])
def test_only_perplexity_has_two_apis(api: str) -> None:
    assert Connection.model_validate({"source": "perplexity", "api": api}).api == api
    assert problem_of_connection(api=api) == (
        "api",
        "only source: perplexity has two APIs to choose from; this one has openai",
    )


def test_connecting_may_not_take_longer_than_the_whole_call() -> None:
    assert problem_of_connection(timeout={"connect": "20s", "total": "10s"}) == (
        "timeout.connect",
        "expected connect to be no longer than total, got connect 20s and total 10s",
    )


def test_a_job_is_not_retried_past_the_life_of_its_result() -> None:
    assert problems_of(
        {
            "results": {"keep": "2h"},
            "connections": {
                "one": {"source": "openai", "retry": {"max_elapsed": "2h"}},
                "two": {"source": "openai"},
            },
        }
    ) == [("connections.one.retry.max_elapsed", "expected less than results.keep (2h), got 2h")]


def test_results_kept_shorter_than_the_default_of_retries_are_one_problem_however_many_connections() -> None:
    connections = {name: {"source": "openai"} for name in ("a", "b", "c", "d")}

    [(path, message)] = problems_of({"results": {"keep": "30m"}, "connections": connections})

    assert path == "results.keep"
    assert message == (
        "expected more than the default retry.max_elapsed (1h) of a, b, c and others, got 30m; "
        "set a shorter retry.max_elapsed there or keep results longer"
    )


def test_results_may_be_kept_shortly_when_retries_are_short_too() -> None:
    made = settings(
        results={"keep": "30m"}, connections={"one": {"source": "openai", "retry": {"max_elapsed": "10m"}}}
    )

    assert made.results.keep == 1800.0


def fallbacks(**lists: list[str]) -> dict[str, Any]:
    return {"connections": {name: {"source": "openai", "fallback": others} for name, others in lists.items()}}


def test_a_fallback_must_exist_and_the_nearest_is_named() -> None:
    assert problems_of(fallbacks(main=["bakcup", "nobody-like-it"], backup=[])) == [
        ("connections.main.fallback.0", 'there is no such connection; did you mean "backup"?'),
        ("connections.main.fallback.1", "there is no such connection"),
    ]


def test_a_connection_is_not_its_own_fallback() -> None:
    assert problems_of(fallbacks(main=["main"])) == [
        ("connections.main.fallback.0", "a connection cannot stand in for itself")
    ]


def test_fallbacks_do_not_go_in_a_circle() -> None:
    assert problems_of(fallbacks(a=["d", "b"], b=["c"], c=["a"], d=[])) == [
        ("connections.a.fallback.1", "goes in a circle: a -> b -> c -> a")
    ]


def test_each_circle_is_named_once() -> None:
    paths = [path for path, _ in problems_of(fallbacks(a=["b"], b=["a"], c=["d"], d=["c"], e=["a", "c"]))]

    assert paths == ["connections.a.fallback.0", "connections.c.fallback.0"]


def test_two_connections_may_share_a_fallback() -> None:
    assert settings(**fallbacks(a=["b", "c"], b=["c"], c=[])).connections["a"].fallback == ("b", "c")


def test_a_fallback_is_named_once() -> None:
    assert problems_of(fallbacks(a=["b", "b"], b=[])) == [
        ("connections.a.fallback.1", "named twice in this list")
    ]


def test_a_chain_of_a_thousand_fallbacks_is_followed() -> None:
    chain = {f"c{number}": [f"c{number + 1}"] for number in range(1000)}

    [(path, _)] = problems_of(fallbacks(**chain, c1000=["c0"]))

    assert path == "connections.c0.fallback.0"


@pytest.mark.parametrize(
    ("key", "remedy"),
    [("model", "write it as model of the connection"), ("messages", "each job brings its own")],
)
def test_what_every_job_has_is_not_a_parameter(key: str, remedy: str) -> None:
    assert problem_of_connection(params={key: "x"}) == (
        f"params.{key}",
        f"{key} is not a parameter; {remedy}",
    )


@for_each(
    "headers",
    [
        {"Host": "x"},
        {"content-length": "5"},
        {"Transfer-Encoding": "chunked"},
        {"X Team": "a"},
        {"X-Team:": "a"},
        {"": "a"},
        {"X-Team": "a\r\nX-Other: b"},
        {"X-Team": "a\n"},
        {"X-Team": "ä"},
        {"X-Team": "a\0"},
        {"X-Team": "a", "x-team": "b"},
        {"X-Team": 5},
    ],
)
def test_a_header_that_would_break_the_request_is_refused(headers: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        custom(include_headers=headers)


@pytest.mark.parametrize(
    ("auth_header", "taken", "free"),
    [("bearer", "Authorization", "X-Api-Key"), ("x-api-key", "X-Api-Key", "Authorization")],
)
def test_the_header_that_the_key_fills_cannot_be_given_too(auth_header: str, taken: str, free: str) -> None:
    keys = {"api_key": "env:KEY", "auth_header": auth_header}

    with pytest.raises(ValidationError, match="api_key already fills this header"):
        custom(**keys, include_headers={taken: "Basic x"})
    assert custom(**keys, include_headers={free: "Basic x"}).include_headers == {free: "Basic x"}


def test_a_connection_without_a_key_may_bring_its_own_authorization() -> None:
    assert custom(include_headers={"Authorization": "Basic x"}).include_headers == {
        "Authorization": "Basic x"
    }


@for_each("path", ["", ".", "a.", ".a", "a..b"])
def test_a_dotted_path_has_a_name_on_each_side_of_a_dot(path: str) -> None:
    with pytest.raises(ValidationError):
        custom(exclude_body=[path])


def test_problems_of_fields_and_of_relations_come_together() -> None:
    data = {
        "worker": {"slots": 0},
        "connections": {
            "a": {"source": "custom", "model": 5, "fallback": ["z"]},
            "b": {"source": "openai", "api": "agent"},
        },
    }

    assert sorted(path for path, _ in problems_of(data)) == [
        "connections.a.fallback.0",
        "connections.a.model",
        "connections.a.url",
        "connections.b.api",
        "worker.slots",
    ]
