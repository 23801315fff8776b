"""`CHATQ_*` variables: which setting each one means, and what its text means there."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from chatq.contract.config_file import load_settings
from chatq.contract.config_problems import ConfigError
from chatq.contract.settings import Settings
from for_each import for_each

FILE = """\
worker: {slots: 7}
connections:
  openai-main:
    source: openai
    limits: {concurrency: 3}
    params: {temperature: 0.5}
  my.server:
    source: custom
    url: simulator
"""


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def load(environ: Mapping[str, str], text: str = FILE) -> Settings:
    Path("config.yaml").write_text(text)
    return load_settings(environ=environ)


def problems_of(environ: Mapping[str, str], text: str = FILE) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(environ, text)
    return [str(problem) for problem in caught.value.problems]


def test_a_variable_wins_over_the_file() -> None:
    assert load({"CHATQ_WORKER__SLOTS": "50"}).worker.slots == 50


def test_a_variable_can_set_what_the_file_does_not_have() -> None:
    loaded = load(
        {
            "CHATQ_BOUNDS__BACKLOG__BYTES": "2GiB",
            "CHATQ_RESULTS__KEEP": "90m",
            "CHATQ_HTTP__ALLOW_HOSTS": "[queue.example.com]",
            "CHATQ_HTTP__PORT": "9000",
        }
    )

    assert loaded.bounds.backlog.bytes == 2147483648
    assert loaded.bounds.backlog.jobs == 5000000
    assert loaded.results.keep == 5400.0
    assert loaded.http.allow_hosts == ("queue.example.com",)
    assert loaded.http.port == 9000


def test_the_short_names_are_settings() -> None:
    loaded = load({"CHATQ_REDIS_URL": "redis://redis:6379/0", "CHATQ_LOG_LEVEL": "DEBUG"})

    assert (loaded.redis.url, loaded.log.level) == ("redis://redis:6379/0", "debug")


@for_each("name", ["CHATQ_PROMPT_PLACEHOLDER", "CHATQ_PROMPTPLACEHOLDER"])
def test_a_text_is_taken_as_it_stands(name: str) -> None:
    assert load({name: "[Begin: now]"}).prompt_placeholder == "[Begin: now]"


def test_a_text_that_looks_like_a_number_is_a_text() -> None:
    assert load({"CHATQ_CONNECTIONS__OPENAI_MAIN__MODEL": "4.10"}).connections["openai-main"].model == "4.10"


def test_null_unsets_what_can_be_unset() -> None:
    environ = {
        "CHATQ_CONNECTIONS__OPENAI_MAIN__MODEL": "null",
        "CHATQ_CONNECTIONS__OPENAI_MAIN__LIMITS__CONCURRENCY": "null",
        "CHATQ_CONNECTIONS__OPENAI_MAIN__API_KEY": "null",
    }

    connection = load(environ).connections["openai-main"]

    assert (connection.model, connection.limits.concurrency, connection.api_key) == (None, None, None)


def test_an_empty_variable_counts_as_not_set() -> None:
    assert load({"CHATQ_WORKER__SLOTS": "", "CHATQ_NONSENSE": ""}).worker.slots == 7


def test_a_connection_is_named_with_an_underscore_for_what_a_variable_cannot_hold() -> None:
    loaded = load(
        {
            "CHATQ_CONNECTIONS__OPENAI_MAIN__LIMITS__REQUESTS_PER_MINUTE": "5",
            "CHATQ_CONNECTIONS__MY_SERVER__URL": "http://127.0.0.1:5000/v1",
        }
    )

    assert loaded.connections["openai-main"].limits.requests_per_minute == 5
    assert loaded.connections["openai-main"].limits.concurrency == 3
    assert loaded.connections["my.server"].url == "http://127.0.0.1:5000/v1"


def test_a_name_that_two_connections_share_is_refused() -> None:
    text = "connections: {a-b: {source: openai}, a.b: {source: openai}}"

    assert problems_of({"CHATQ_CONNECTIONS__A_B__MODEL": "x"}, text) == [
        (
            "environment: CHATQ_CONNECTIONS__A_B__MODEL: may mean connections.a-b.model and "
            "connections.a.b.model; rename one of them, or set it in the file"
        )
    ]


def test_a_connection_id_with_two_underscores_is_found() -> None:
    text = "connections: {a__b: {source: openai}, a: {source: openai}}"

    loaded = load({"CHATQ_CONNECTIONS__A__B__MODEL": "x"}, text)

    assert loaded.connections["a__b"].model == "x"


def test_a_parameter_is_set_by_its_small_letters() -> None:
    loaded = load(
        {
            "CHATQ_CONNECTIONS__OPENAI_MAIN__PARAMS__MAX_TOKENS": "100",
            "CHATQ_CONNECTIONS__MY_SERVER__INCLUDE_HEADERS__X_TEAM": "12",
            "CHATQ_CONNECTIONS__MY_SERVER__INCLUDE_BODY": "{a: [1]}",
        }
    )

    assert loaded.connections["openai-main"].params == {"temperature": 0.5, "max_tokens": 100}
    assert loaded.connections["my.server"].include_headers == {"x-team": "12"}
    assert loaded.connections["my.server"].include_body == {"a": [1]}


def test_a_section_that_may_be_missing_is_made_and_unmade() -> None:
    made = load({"CHATQ_CONNECTIONS__OPENAI_MAIN__BUDGET__PER_DAY_USD": "20"})
    text = FILE + "    budget: {per_day_usd: 5}\n"
    unmade = load({"CHATQ_CONNECTIONS__MY_SERVER__BUDGET": "null"}, text)

    assert made.connections["openai-main"].budget is not None
    assert made.connections["openai-main"].budget.per_day_usd == 20.0
    assert unmade.connections["my.server"].budget is None


def test_a_variable_changes_one_of_two_connections_that_share_an_alias() -> None:
    text = "connections:\n  a: &a {source: openai, limits: {concurrency: 3}}\n  b: *a\n"

    loaded = load({"CHATQ_CONNECTIONS__B__LIMITS__CONCURRENCY": "9"}, text)

    assert loaded.connections["a"].limits.concurrency == 3
    assert loaded.connections["b"].limits.concurrency == 9


def test_a_variable_mends_what_is_wrong_in_the_file() -> None:
    assert load({"CHATQ_WORKER__SLOTS": "50"}, "worker: {slots: many}").worker.slots == 50


def test_a_wrong_value_is_told_with_the_variable() -> None:
    assert problems_of({"CHATQ_WORKER__SLOTS": "many"}) == [
        '$CHATQ_WORKER__SLOTS: worker.slots: expected a whole number, got "many"'
    ]


def test_a_value_that_is_no_yaml_is_told_with_the_variable() -> None:
    [told] = problems_of({"CHATQ_HTTP__ALLOW_HOSTS": "[a"})

    assert told.startswith("$CHATQ_HTTP__ALLOW_HOSTS: http.allow_hosts: not valid YAML: ")


@for_each(
    ("variable", "told"),
    [
        ("CHATQ_WORKR__SLOTS", "unknown setting; did you mean CHATQ_WORKER__SLOTS?"),
        ("CHATQ_WORKER_SLOTS", "unknown setting; did you mean CHATQ_WORKER__SLOTS?"),
        ("CHATQ_LOGLEVEL", "unknown setting; did you mean CHATQ_LOG_LEVEL?"),
        ("CHATQ_HTTP__TOKENS", "unknown setting; did you mean CHATQ_HTTP_TOKENS?"),
        ("CHATQ_CONFIG_FILE", "unknown setting; did you mean CHATQ_CONFIG?"),
        (
            "CHATQ_CONNECTIONS__OPENAI_MAIN__MODLE",
            "unknown setting; did you mean CHATQ_CONNECTIONS__OPENAI_MAIN__MODEL?",
        ),
        ("CHATQ_ZZZ", "unknown setting"),
        ("CHATQ_WORKER", "names a whole section; set its keys one by one, such as CHATQ_WORKER__SLOTS"),
        (
            "CHATQ_CONNECTIONS__OPENAI_MAIN",
            "names a whole section; set its keys one by one, such as CHATQ_CONNECTIONS__OPENAI_MAIN__SOURCE",
        ),
    ],
)
def test_an_unknown_variable_is_told_with_the_nearest_known(variable: str, told: str) -> None:
    assert problems_of({variable: "1"}) == [f"environment: {variable}: {told}"]


def test_a_variable_for_a_connection_that_is_not_in_the_file_is_told() -> None:
    [told] = problems_of({"CHATQ_CONNECTIONS__SOMETHING_QUITE_DIFFERENT__X": "x"})

    assert told.endswith("unknown setting; variables can only change connections that are in the file")


def test_two_variables_that_say_different_things_are_told() -> None:
    assert problems_of({"CHATQ_LOG_LEVEL": "info", "CHATQ_LOG__LEVEL": "debug"}) == [
        "$CHATQ_LOG__LEVEL: log.level: says otherwise than CHATQ_LOG_LEVEL; set one of them"
    ]


def test_two_variables_that_say_the_same_are_fine() -> None:
    assert load({"CHATQ_LOG_LEVEL": "debug", "CHATQ_LOG__LEVEL": "debug"}).log.level == "debug"


@for_each(
    ("variable", "value"),
    [
        ("CHATQ_INTERNAL_ANYTHING", "1"),
        ("CHATQ_SERVICE_HOST", "10.0.0.1"),
        ("CHATQ_SERVICE_PORT_HTTP", "8400"),
        ("CHATQ_PORT", "tcp://10.0.0.1:8400"),
        ("CHATQ_PORT_8400_TCP_ADDR", "10.0.0.1"),
        ("CHATQ_REDIS_PORT", "tcp://10.0.0.1:6379"),
        ("CHATQ_REDIS_SERVICE_HOST", "10.0.0.1"),
        ("OTHER_WORKER__SLOTS", "1"),
        ("chatq_worker__slots", "1"),
    ],
)
def test_variables_of_others_are_left_alone(variable: str, value: str) -> None:
    """Kubernetes describes the services chatq and chatq-redis to every container by such names."""
    assert load({variable: value}).worker.slots == 7


def test_problems_of_the_file_and_of_variables_come_together() -> None:
    told = problems_of({"CHATQ_LOG_LEVEL": "loud", "CHATQ_ZZZ": "1"}, "worker: {slots: 0}\n")

    assert told == [
        '$CHATQ_LOG_LEVEL: log.level: expected one of debug info warning error, got "loud"',
        "config.yaml:1: worker.slots: expected at least 1, got 0",
        "environment: CHATQ_ZZZ: unknown setting",
    ]


def test_variables_are_checked_even_when_the_file_cannot_be_read_to_its_end() -> None:
    told = problems_of({"CHATQ_ZZZ": "1", "CHATQ_CONNECTIONS__A__MODEL": "x"}, "worker: {slots\n")

    assert [line.split(":")[0] for line in told] == ["config.yaml", "environment"]


def test_a_variable_below_something_that_is_no_mapping_leaves_that_to_be_told() -> None:
    assert problems_of({"CHATQ_WORKER__SLOTS": "5"}, "worker: 12\n") == [
        "config.yaml:1: worker: expected a mapping (keys with values), got 12"
    ]


def test_tokens_are_separated_by_commas_and_kept_secret() -> None:
    loaded = load({"CHATQ_HTTP_TOKENS": "one-token, two-token,,one-token"})

    assert [token.get_secret_value() for token in loaded.http_tokens] == ["one-token", "two-token"]
    assert "one-token" not in repr(loaded.http_tokens) + repr(loaded) + str(loaded.public())


@for_each(
    ("value", "told"),
    [
        (" , ", "expected tokens separated by commas, got none"),
        ("hunter2 with-a-space", "expected tokens of visible ASCII characters, separated by commas"),
        ("hünter2", "expected tokens of visible ASCII characters, separated by commas"),
        (
            "long-enough, hunter2",
            "expected at least 8 characters in each token: a shorter one can be guessed",
        ),
    ],
)
def test_tokens_that_no_header_can_carry_or_that_are_short_are_told_without_repeating_them(
    value: str, told: str
) -> None:
    assert problems_of({"CHATQ_HTTP_TOKENS": value}) == [f"$CHATQ_HTTP_TOKENS: {told}"]


def test_a_refused_server_url_of_the_environment_is_not_repeated() -> None:
    [told] = problems_of({"CHATQ_REDIS_URL": "redis://:hunter2@host:port"})

    assert (
        told == "$CHATQ_REDIS_URL: redis.url: expected redis://HOST:PORT, got one with a wrong host or port"
    )


def test_an_unquoted_word_of_older_yaml_in_a_parameter_has_to_be_made_clear() -> None:
    [told] = problems_of({"CHATQ_CONNECTIONS__OPENAI_MAIN__PARAMS__STORE": "no"})

    assert told == (
        "$CHATQ_CONNECTIONS__OPENAI_MAIN__PARAMS__STORE: connections.openai-main.params.store: "
        'is false to some and a text to others; write false, or "no" in quotes'
    )


def test_a_variable_that_is_not_unicode_is_told() -> None:
    [told] = problems_of({"CHATQ_HTTP__PORT": "\udcff"})

    assert told == "$CHATQ_HTTP__PORT: http.port: the character U+DCFF cannot be used here; take it out"


def test_a_variable_that_a_connection_names_as_its_key_is_no_setting() -> None:
    text = FILE.replace("source: openai\n", "source: openai\n    api_key: env:CHATQ_TEAM_KEY\n")
    assert load({"CHATQ_TEAM_KEY": "sk-1"}, text).connections["openai-main"].api_key == (
        "env",
        "CHATQ_TEAM_KEY",
    )
