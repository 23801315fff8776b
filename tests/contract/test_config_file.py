"""Loading: which file, what stops it, how each problem is told, and what is corrected on the way."""

import re
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path

import pytest

from chatq.contract.config_file import load_settings
from chatq.contract.config_problems import ConfigError, Problem
from chatq.contract.key_reference import KeyReference
from chatq.contract.section import Broken
from chatq.contract.settings import Settings
from for_each import for_each

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def load(text: str | bytes, environ: Mapping[str, str] | None = None) -> Settings:
    data = text.encode() if isinstance(text, str) else text
    Path("config.yaml").write_bytes(data)
    return load_settings(environ=environ or {})


def problems_of(text: str | bytes) -> list[str]:
    """Each problem as a user sees it, without the name of the file."""
    with pytest.raises(ConfigError) as caught:
        load(text)
    assert all(problem.file == "config.yaml" for problem in caught.value.problems)
    return [str(problem).removeprefix("config.yaml").removeprefix(":") for problem in caught.value.problems]


def one_connection(*lines: str) -> str:
    """A file with a connection `main`; the first of `lines` is line 4."""
    return (
        "\n".join(["connections:", "  main:", "    source: openai", *("    " + line for line in lines)])
        + "\n"
    )


PROMISED = """\
promptPlaceholder: "[Start a new chat]"
redis:
  url: embedded
  broker_url: null
  key_prefix: "chatq"
  fsync: always
worker:
  slots: 1000
  processes: 1
  lease: 30s
  grace: 30s
bounds:
  backlog: {jobs: 5000000, bytes: 4GiB}
  job_bytes: 8MiB
  answer_bytes: 32MiB
results:
  keep: 7d
http: {host: 127.0.0.1, port: 8400, tokens_file: null, allow_hosts: [localhost, 127.0.0.1]}
log: {level: info, format: auto}
connections:
  openai-main:
    source: openai
    model: gpt-5-mini
    api: null
    url: null
    api_key: env:OPENAI_API_KEY
    post_processing: none
    bypass_status_check: false
    timeout: {connect: 10s, total: 10m}
    limits:
      requests_per_minute: 500
      tokens_per_minute: 200000
      requests_per_day: null
      concurrency: 64
      scope: null
    retry: {max_attempts: 6, max_elapsed: 1h, on_worker_lost: retry}
    params: {temperature: 0.7}
    fallback: []
    budget: null
    price: null
  my-server:
    source: custom
    url: http://127.0.0.1:5000/v1
    api_key: null
    auth_header: bearer
    include_headers: {}
    include_body: {}
    exclude_body: []
"""


def test_the_file_of_the_public_interface_is_read_as_it_stands() -> None:
    """Every key that is promised, with the value that is shown there."""
    loaded = load(PROMISED)

    main, own = loaded.connections["openai-main"], loaded.connections["my-server"]
    assert main.api_key == KeyReference("env", "OPENAI_API_KEY")
    assert (main.timeout.connect, main.timeout.total) == (10.0, 600.0)
    assert (main.limits.requests_per_minute, main.limits.tokens_per_minute) == (500, 200000)
    assert (main.retry.max_attempts, main.retry.max_elapsed, main.retry.on_worker_lost) == (
        6,
        3600.0,
        "retry",
    )
    assert main.params == {"temperature": 0.7}
    assert (own.url, own.auth_header) == ("http://127.0.0.1:5000/v1", "bearer")
    assert loaded.bounds.backlog.bytes == 4294967296
    assert loaded.notices == ()


# Which file.


def test_the_file_of_the_command_line_comes_first() -> None:
    for name in ("first", "second", "config"):
        Path(f"{name}.yaml").write_text(f"redis: {{key_prefix: {name}}}")

    loaded = load_settings(Path("first.yaml"), environ={"CHATQ_CONFIG": "second.yaml"})

    assert loaded.redis.key_prefix == "first"
    assert loaded.source_path == Path.cwd() / "first.yaml"


def test_the_file_of_the_environment_comes_before_that_of_the_folder() -> None:
    for name in ("second", "config"):
        Path(f"{name}.yaml").write_text(f"redis: {{key_prefix: {name}}}")

    assert load_settings(environ={"CHATQ_CONFIG": "second.yaml"}).redis.key_prefix == "second"
    assert load_settings(environ={"CHATQ_CONFIG": ""}).redis.key_prefix == "config"


def test_without_any_file_the_three_places_to_name_one_are_told() -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(environ={})

    assert str(caught.value) == (
        "config.yaml: there is no such file in the current folder, and neither --config nor $CHATQ_CONFIG "
        "names another; copy the one from the project, or name yours"
    )


@for_each(
    ("path", "environ", "told"),
    [
        (Path("gone.yaml"), {}, "gone.yaml: there is no such file; it was named by --config"),
        (
            None,
            {"CHATQ_CONFIG": "gone.yaml"},
            "gone.yaml: there is no such file; it was named by $CHATQ_CONFIG",
        ),
        (Path(), {}, ".: is a folder, expected a file; it was named by --config"),
        (Path("a\0b"), {}, "a\0b: cannot be read: not a path; it was named by --config"),
    ],
)
def test_a_file_that_cannot_be_read_is_told_with_what_named_it(
    path: Path | None, environ: dict[str, str], told: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(path, environ=environ)

    assert str(caught.value) == told


# The file as text.


def test_an_empty_file_is_told_what_it_needs() -> None:
    expected = ["1: the file is empty; expected at least `connections:` with one connection below"]

    assert problems_of("") == expected
    assert problems_of("# nothing\n\n") == expected
    assert problems_of("---\n") == expected


@for_each(
    ("text", "came"),
    [("- a\n", "a list"), ("hello\n", '"hello"'), ("12\n", "12"), ("sk-abc123\n", "text of 9 characters")],
)
def test_a_file_that_is_no_mapping_is_told_what_came(text: str, came: str) -> None:
    assert problems_of(text) == [f"1: expected keys such as `connections:`, got {came}"]


def test_a_byte_order_mark_is_passed_over() -> None:
    assert load(b"\xef\xbb\xbfworker: {slots: 5}\n").worker.slots == 5


def test_windows_line_ends_are_line_ends() -> None:
    assert problems_of("worker:\r\n  slots: 5\r\n  slot: 5\r\n") == [
        '3: worker.slot: unknown key; did you mean "slots"?'
    ]


@for_each("data", [b"a: 1\nb: \xff\n", "a: 1\nb: ä\n".encode("latin-1")])
def test_another_encoding_than_utf_8_is_told_with_the_line(data: bytes) -> None:
    assert problems_of(data) == ["2: not UTF-8; save the file with the encoding UTF-8"]


def test_a_byte_order_mark_inside_the_text_is_told() -> None:
    assert problems_of("worker:\n  slots: \ufeff5\n") == [
        "2: the character U+FEFF cannot be used here; take it out"
    ]


def test_utf_16_is_told_to_be_not_utf_8() -> None:
    assert problems_of("a: 1".encode("utf-16")) == ["1: not UTF-8; save the file with the encoding UTF-8"]


def test_an_unprintable_character_is_told_with_its_line() -> None:
    assert problems_of("worker:\n  slots: 5\x00\n") == [
        "2: the character U+0000 cannot be used here; take it out"
    ]


def test_a_file_of_more_than_two_mebibytes_is_not_read() -> None:
    assert problems_of("#" * (2 * 2**20 + 1)) == [" expected settings of at most 2MiB, got a larger file"]


def test_a_tab_in_the_indentation_is_told() -> None:
    assert problems_of("worker:\n\tslots: 5\n") == ["2: indented with a tab; YAML wants spaces"]


@for_each(
    ("text", "line"),
    [
        ("worker: {slots: 5\n", 2),
        ("worker: slots: 5\n", 1),
        ("worker:\n  slots: 5\n lease: 5\n", 3),
        ('log:\n  level: "info\n', 3),
        ("log: @info\n", 1),
        ("a\nb: 1\n", 2),
    ],
)
def test_what_is_no_yaml_is_told_with_its_line(text: str, line: int) -> None:
    [told] = problems_of(text)

    assert told.startswith(f"{line}: not valid YAML: ")


def test_a_syntax_error_does_not_repeat_the_line() -> None:
    [told] = problems_of("connections:\n  main: {api_key: sk-hunter2: x}\n")

    assert "hunter2" not in told


def test_a_key_given_twice_is_told_with_both_lines() -> None:
    assert problems_of("worker:\n  slots: 5\n  lease: 5s\n  slots: 6\n") == [
        "4: worker.slots: given twice; first in line 2"
    ]


def test_a_connection_given_twice_is_told_with_both_lines() -> None:
    text = "connections:\n  a:\n    source: openai\n  a:\n    source: claude\n"

    assert problems_of(text) == ["4: connections.a: given twice; first in line 2"]


def test_anchors_aliases_and_merge_keys_work() -> None:
    loaded = load(
        """
connections:
  first: &usual
    source: openai
    limits: &limits {concurrency: 3}
    params: {temperature: 0.5}
  second:
    <<: *usual
    model: gpt-5
    limits:
      <<: [*limits, {scope: shared, concurrency: 9}]
      requests_per_minute: 5
"""
    )

    second = loaded.connections["second"]
    assert (second.source, second.model, second.params) == ("openai", "gpt-5", {"temperature": 0.5})
    assert (second.limits.concurrency, second.limits.scope, second.limits.requests_per_minute) == (
        3,
        "shared",
        5,
    )


def test_a_merged_value_is_told_where_it_was_written() -> None:
    text = "connections:\n  a: &a\n    source: openai\n    modle: x\n  b:\n    <<: *a\n"

    assert problems_of(text) == [
        '4: connections.a.modle: unknown key; did you mean "model"?',
        '4: connections.b.modle: unknown key; did you mean "model"?',
    ]


def test_only_mappings_can_be_merged() -> None:
    assert problems_of("worker:\n  <<: 5\n  slots: 1\n") == [
        "2: worker.<<: expected a mapping to merge, such as *defaults"
    ]


def test_aliases_of_aliases_cannot_use_up_memory() -> None:
    layers = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    layers += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]

    [told] = problems_of("\n".join(layers))

    assert told == "6: a5: more than 200,000 values, aliases written out"


@for_each(
    ("text", "told"),
    [
        ("worker: *nothing\n", "1: worker: the alias *nothing has no anchor"),
        ("worker: &w {slots: *w}\n", "1: worker.slots: the alias *w holds itself"),
        ("worker: &w\n  <<: *w\n", "2: worker.<<: the alias *w holds itself"),
    ],
)
def test_an_alias_without_a_value_is_told(text: str, told: str) -> None:
    assert problems_of(text) == [told]


@for_each("opening", ["[", "{a: ", "- ", "? "])
def test_nesting_has_an_end(opening: str) -> None:
    [told] = problems_of("x: " * (opening in "[{a: ") + opening * 5000)

    assert told.endswith("nested more than 32 deep")


def test_a_second_document_is_told() -> None:
    assert problems_of("worker: {slots: 5}\n---\nworker: {slots: 6}\n") == [
        "2: a second document begins here (---); expected one mapping"
    ]


@for_each("tag", ["!!python/object/apply:os.system", "!secret", "!!set", "!!binary"])
def test_tags_have_no_meaning(tag: str) -> None:
    assert "2: worker.slots: YAML tags (!...) have no meaning here; take it out" in problems_of(
        f"worker:\n  slots: {tag} 'x'\n"
    )


def test_the_tags_of_plain_values_are_understood() -> None:
    assert load('worker: !!map {slots: !!int "5"}\nredis: {key_prefix: !!str 12}').redis.key_prefix == "12"


def test_a_key_must_be_a_name() -> None:
    assert problems_of("worker:\n  [a, b]: 1\n  '': 2\n") == [
        "2: worker: expected a name before the colon, got a list",
        "3: worker: expected a name before the colon, got nothing",
    ]


# YAML's traps.


def test_a_word_that_older_yaml_takes_for_a_boolean_is_a_text_where_a_text_is_meant() -> None:
    connection = load(one_connection("model: no", "limits: {scope: off}")).connections["main"]

    assert (connection.model, connection.limits.scope) == ("no", "off")


def test_a_word_that_older_yaml_takes_for_a_boolean_is_one_where_a_boolean_is_meant() -> None:
    assert load(one_connection("bypass_status_check: yes")).connections["main"].bypass_status_check is True


def test_where_either_could_be_meant_the_word_has_to_be_made_clear() -> None:
    store, stop = problems_of(one_connection("params:", "  store: no", "  stop: [on, 'off']"))

    assert store == (
        "5: connections.main.params.store: "
        'is false to some and a text to others; write false, or "no" in quotes'
    )
    assert stop == (
        "6: connections.main.params.stop[0]: "
        'is true to some and a text to others; write true, or "on" in quotes'
    )


@for_each("name", ["on", "no", "12", "null", "2024-01-01", "1.5"])
def test_a_connection_id_is_a_name_whatever_else_it_looks_like(name: str) -> None:
    assert list(load(f"connections: {{{name}: {{source: openai}}}}").connections) == [name]


def test_minutes_and_seconds_with_a_colon_are_no_number() -> None:
    assert problems_of("worker:\n  lease: 5:00\n") == [
        '2: worker.lease: expected a duration such as 90s, 10m, 24h or plain seconds, got "5:00"'
    ]


def test_a_number_with_leading_zeros_is_a_name_and_no_octal() -> None:
    assert load(one_connection("limits: {scope: 0123}")).connections["main"].limits.scope == "0123"
    assert problems_of("worker: {slots: 010}") == ['1: worker.slots: expected a whole number, got "010"']


def test_a_number_where_a_text_is_meant_has_to_be_quoted() -> None:
    assert problems_of(one_connection("model: 4.10")) == [
        "4: connections.main.model: expected a text, got 4.1; put it in quotes"
    ]


def test_values_of_params_are_those_of_json() -> None:
    params = "{a: 1e-3, b: .5, c: 0x10, d: 1_000, e: ~, f: true, g: 2024-01-01, h: '1', i: -0.5, j: {k: [1]}}"

    assert load(one_connection(f"params: {params}")).connections["main"].params == {
        "a": 0.001,
        "b": 0.5,
        "c": 16,
        "d": 1000,
        "e": None,
        "f": True,
        "g": "2024-01-01",
        "h": "1",
        "i": -0.5,
        "j": {"k": [1]},
    }


@for_each(
    ("value", "expected"),
    [
        (".inf", "expected a finite number"),
        ("-.INF", "expected a finite number"),
        (".nan", "expected a finite number"),
        ("1e999", "expected a finite number"),
        ("99999999999999999999", "expected a number of at most 64 bits; quote it if it is a name"),
        ("9" * 5000, "expected a number of at most 64 bits; quote it if it is a name"),
        (r'"\0"', "a text with a NUL or half a character cannot be used"),
    ],
)
def test_a_value_that_json_cannot_carry_is_refused(value: str, expected: str) -> None:
    assert problems_of(one_connection("params:", f"  seed: {value}")) == [
        f"5: connections.main.params.seed: {expected}"
    ]


# Problems of the settings.


def test_all_problems_come_at_once_in_the_order_of_the_file() -> None:
    text = """
wroker: {slots: 5}
worker:
  slots: many
  lease: 500ms
redis:
  url: http://localhost
  url: embedded
connections:
  openai-main:
    sorce: openai
    limits:
      requests_per_minute: 0
    fallback: [opnai]
  my-server:
    source: custom
    api_key: sk-hunter2hunter2
"""

    assert problems_of(text) == [
        '2: wroker: unknown key; did you mean "worker"?',
        '4: worker.slots: expected a whole number, got "many"',
        "5: worker.lease: expected at least 1s, got 500ms",
        (
            "7: redis.url: expected embedded, embedded:FOLDER, redis://, rediss://, redis+socket://, unix:// "
            "or sentinel://, got http://"
        ),
        "8: redis.url: given twice; first in line 7",
        (
            "10: connections.openai-main.source: missing; expected one of openai claude mistralai deepseek "
            "ai21 cohere perplexity fireworks electronhub custom"
        ),
        '11: connections.openai-main.sorce: unknown key; did you mean "source"?',
        "13: connections.openai-main.limits.requests_per_minute: expected at least 1, got 0",
        "14: connections.openai-main.fallback[0]: there is no such connection",
        (
            "15: connections.my-server.url: missing; a custom connection must have one, such as "
            "http://127.0.0.1:5000/v1 or simulator"
        ),
        (
            "17: connections.my-server.api_key: a key is not written here, where it would be copied and "
            "committed; put it into an environment variable and write env:NAME, or into a file of its own "
            "and write file:PATH"
        ),
    ]


def test_a_problem_can_be_read_by_a_program() -> None:
    with pytest.raises(ConfigError) as caught:
        load("worker:\n  slots: many\nlog: {level: inof}\nlogs: 1\n")

    level, slots, unknown = sorted(caught.value.problems, key=lambda problem: problem.key)
    assert (level.file, level.line, level.key) == ("config.yaml", 3, "log.level")
    assert (level.expected, level.got, level.nearest) == ("one of debug info warning error", '"inof"', "info")
    assert unknown.key == "worker.slots"
    assert slots.nearest == "log"
    assert caught.value.code == "config"
    assert caught.value.remedy


@for_each(
    ("written", "meant"),
    [
        ("sorce", "source"),
        ("Model", "model"),
        ("apiKey", "api_key"),
        ("API-KEY", "api_key"),
        ("requests_per_minute", "limits.requests_per_minute"),
        ("max_attempts", "retry.max_attempts"),
        ("maxattempts", "retry.max_attempts"),
        ("per_day_usd", "budget.per_day_usd"),
        ("timeouts", "timeout"),
    ],
)
def test_an_unknown_key_is_told_with_the_nearest_known(written: str, meant: str) -> None:
    assert problems_of(one_connection(f"{written}: 1")) == [
        f'4: connections.main.{written}: unknown key; did you mean "{meant}"?'
    ]


def test_an_unknown_key_like_no_other_is_told_alone() -> None:
    assert problems_of("zzz: 1\n") == ["1: zzz: unknown key"]


def test_a_key_of_a_section_at_the_top_is_told_with_its_section() -> None:
    assert problems_of("slots: 5\n") == ['1: slots: unknown key; did you mean "worker.slots"?']


@for_each("key", ["http_tokens", "notices", "source_path", "prompt_placeholder", "_notices"])
def test_what_the_object_knows_besides_is_no_key_of_the_file(key: str) -> None:
    [told] = problems_of(f"{key}: x\n")

    assert told.startswith(f"1: {key}: unknown key")


@for_each(
    ("line", "told"),
    [
        ("limits: 5", "limits: expected a mapping (keys with values), got 5"),
        ("limits: [5]", "limits: expected a mapping (keys with values), got a list"),
        ("fallback: other", 'fallback: expected a list, got "other"'),
        ("fallback: {a: b}", "fallback: expected a list, got a mapping"),
        ("fallback: [5]", "fallback[0]: expected a text, got 5; put it in quotes"),
        ("params: [5]", "params: expected a mapping (keys with values), got another value"),
        ("model: [5]", "model: expected a text, got a list"),
        ("model: true", "model: expected a text, got true; put it in quotes"),
        ("bypass_status_check: maybe", 'bypass_status_check: expected true or false, got "maybe"'),
        ("bypass_status_check: 1", "bypass_status_check: expected true or false, got 1"),
        ("budget: {per_day_usd: much}", 'budget.per_day_usd: expected a number, got "much"'),
        ("budget: {per_day_usd: 0}", "budget.per_day_usd: expected more than 0, got 0"),
        ("retry: {max_attempts: 1.5}", "retry.max_attempts: expected a whole number, got 1.5"),
        ("retry: {max_attempts: null}", "retry.max_attempts: expected a whole number, got nothing"),
        (
            "limits: {concurrency: 9999999999999}",
            "limits.concurrency: expected at most 1e+12, got 9999999999999",
        ),
    ],
)
def test_a_value_of_the_wrong_kind_is_told_with_what_was_expected_and_what_came(line: str, told: str) -> None:
    assert problems_of(one_connection(line)) == [f"4: connections.main.{told}"]


def test_a_connection_with_nothing_in_it_is_told() -> None:
    assert problems_of("connections:\n  main:\n") == [
        "2: connections.main: expected a mapping (keys with values), got nothing"
    ]


def test_a_wrong_connection_id_is_told_with_the_line_of_the_connection() -> None:
    assert problems_of("connections:\n  Main:\n    source: openai\n") == [
        "2: connections.Main: a connection ID is 1 to 64 of a-z 0-9 . _ - and begins with a letter or digit"
    ]


def test_a_section_whose_lines_are_all_commented_out_means_its_defaults() -> None:
    loaded = load(one_connection("limits:", "  # concurrency: 5", "params:", "fallback:", "timeout:"))

    assert loaded.connections["main"] == load(one_connection()).connections["main"]


def test_hundreds_of_problems_are_counted_and_not_all_printed() -> None:
    with pytest.raises(ConfigError) as caught:
        load("\n".join(f"zzz{number}: 1" for number in range(250)))

    assert len(caught.value.problems) == 250
    assert str(caught.value).splitlines()[-1] == "... and 150 more"


SECRET = "hunter2hunter2"


@for_each(
    "line",
    [
        f"api_key: {SECRET}",
        f"api_key: [{SECRET}]",
        f"api_key: env:sk-{SECRET}",
        f"url: http://me:{SECRET}@example.com",
        f"url: https://example.com/?key={SECRET}",
        f"url: [{SECRET}]",
        f"include_headers: {{Authorization: {SECRET}}}",
        f"include_headers: {SECRET}",
        f"include_body: {SECRET}",
        f"include_body: {{token: {SECRET}, b: no}}",
        f"params: {SECRET}",
        f"sk-{SECRET}12345: x",
        f"openai_key: {SECRET}",
        f"limits: sk-{SECRET}",
        f"source: sk-{SECRET}",
        f"api_key: &{SECRET} *{SECRET}",
        f"api_key: {SECRET}: x",
        f'api_key: "{SECRET}',
    ],
)
def test_no_problem_repeats_a_secret_nor_does_its_traceback(line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(one_connection(line))

    everything = "".join(traceback.format_exception(caught.value)) + repr(caught.value.problems)
    assert SECRET not in everything


def test_a_wrong_server_url_is_told_without_its_password() -> None:
    [told] = problems_of(f"redis: {{url: 'redis://:{SECRET}@host:port'}}")

    assert told == "1: redis.url: expected redis://HOST:PORT, got one with a wrong host or port"


# Corrections.


def test_what_is_taken_off_a_base_url_is_said() -> None:
    loaded = load(
        """connections:
  one: {source: custom, url: "http://127.0.0.1:5000/v1/chat/completions"}
  two: {source: custom, url: "http://127.0.0.1:5000/v1/"}
  three: {source: custom, url: "HTTP://127.0.0.1:5000/v1"}
"""
    )

    assert loaded.notices == (
        "config.yaml:2: connections.one.url: /chat/completions is taken off; the base URL is http://127.0.0.1:5000/v1",
        "config.yaml:3: connections.two.url: / is taken off; the base URL is http://127.0.0.1:5000/v1",
    )
    assert {connection.url for connection in loaded.connections.values()} == {"http://127.0.0.1:5000/v1"}


def test_a_credential_written_into_the_headers_is_remarked_without_repeating_it() -> None:
    text = """connections:
  one:
    source: custom
    url: simulator
    include_headers:
      Authorization: Basic a
"""

    [notice] = load(text).notices

    assert notice.startswith(
        "config.yaml:6: connections.one.include_headers.Authorization: looks like a secret"
    )
    assert "Basic" not in notice


def test_a_credential_in_the_headers_from_the_environment_is_not_remarked() -> None:
    loaded = load(
        "connections: {one: {source: custom, url: simulator}}",
        {"CHATQ_CONNECTIONS__ONE__INCLUDE_HEADERS__AUTHORIZATION": "Basic a"},
    )

    assert loaded.connections["one"].include_headers == {"authorization": "Basic a"}
    assert loaded.notices == ()


# Paths.


def test_relative_paths_start_from_the_folder_of_the_file(tmp_path: Path) -> None:
    folder = tmp_path / "etc"
    folder.mkdir()
    (folder / "chatq.yaml").write_text(
        "redis: {url: 'embedded:data'}\n"
        "http: {tokens_file: tokens.yaml}\n"
        "connections: {one: {source: openai, api_key: 'file:keys/openai'}}\n"
    )

    loaded = load_settings(folder / "chatq.yaml", environ={})

    assert loaded.redis.embedded_folder == folder / "data"
    assert loaded.http.tokens_file == str(folder / "tokens.yaml")
    assert loaded.connections["one"].api_key == KeyReference("file", str(folder / "keys/openai"))


def test_the_default_folder_of_the_embedded_server_is_beside_the_file(tmp_path: Path) -> None:
    assert load("log: {level: info}").redis.embedded_folder == tmp_path / ".chatq"
    assert load("redis: {url: embedded}").redis.embedded_folder == tmp_path / ".chatq"


def test_relative_paths_of_variables_start_from_the_folder_of_the_file_too(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/chatq.yaml").write_text("log: {level: info}")

    loaded = load_settings(Path("etc/chatq.yaml"), environ={"CHATQ_REDIS_URL": "embedded:data"})

    assert loaded.redis.embedded_folder == tmp_path / "etc/data"


def test_an_absolute_path_and_a_home_folder_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    loaded = load("redis: {url: 'embedded:/var/chatq'}\nhttp: {tokens_file: ~/tokens.yaml}\n")

    assert loaded.redis.embedded_folder == Path("/var/chatq")
    assert loaded.http.tokens_file == "/home/somebody/tokens.yaml"


@pytest.mark.skipif(sys.platform == "win32", reason="no /dev/stdin")
def test_settings_from_a_pipe_keep_relative_paths_in_the_current_folder(tmp_path: Path) -> None:
    import os

    reading, writing = os.pipe()
    os.write(writing, b"log: {level: info}\n")
    os.close(writing)
    try:
        loaded = load_settings(Path(f"/dev/fd/{reading}"), environ={})
    finally:
        os.close(reading)

    assert loaded.redis.embedded_folder == tmp_path / ".chatq"


# The file that is shipped.


def test_the_shipped_file_works_without_any_key() -> None:
    loaded = load_settings(ROOT / "config.yaml", environ={})

    assert list(loaded.connections) == ["demo"]
    demo = loaded.connections["demo"]
    assert (demo.source, demo.url, demo.api_key) == ("custom", "simulator", None)
    assert loaded.notices == ()


def test_the_examples_in_the_shipped_file_work_when_their_marks_are_taken_off() -> None:
    shipped = (ROOT / "config.yaml").read_text()
    # A comment has one space after its mark, an example none or more.
    uncommented = re.sub(r"^( *)#(?! \S)", r"\1", shipped, flags=re.MULTILINE)

    loaded = load(uncommented)

    assert list(loaded.connections) == ["demo", "openai-main", "claude-main", "my-server"]
    assert loaded.connections["openai-main"].api_key == KeyReference("env", "OPENAI_API_KEY")
    assert loaded.notices == ()


def test_the_shipped_file_spells_out_defaults_only() -> None:
    loaded = load_settings(ROOT / "config.yaml", environ={})

    plain = Settings.model_validate({"connections": {"demo": loaded.connections["demo"]}})
    # Folders are absolute once loaded.
    folders = {"redis": {"url"}, "http": {"folder"}}
    assert loaded.model_dump(exclude=folders) == plain.model_dump(exclude=folders)


def test_a_problem_without_a_line_prints_without_one() -> None:
    from chatq.contract.config_problems import Place

    assert str(Problem(Place("config.yaml"), "", "is gone")) == "config.yaml: is gone"


# Budgets


def test_a_budget_needs_a_price_where_no_price_of_the_source_is_listed() -> None:
    text = "connections:\n  main:\n    source: custom\n    url: simulator\n    budget: {per_day_usd: 5}\n"
    told = "nobody knows what calls of this connection cost; give it a price (input_per_million, output_per_million)"
    assert problems_of(text) == [f"5: connections.main.budget: {told}"]
    price = "    price: {input_per_million: 1, output_per_million: 2}\n"
    assert load(text + price).connections["main"].budget is not None


def test_who_knows_more_than_the_file_may_add_problems_with_their_lines() -> None:
    Path("config.yaml").write_text(one_connection("model: m", "budget: {per_day_usd: 5}"))
    where = ("connections", "main", "budget")
    with pytest.raises(ConfigError) as caught:
        load_settings(environ={}, also=lambda _: [Broken(where, "too dear")])
    assert [str(problem) for problem in caught.value.problems] == [
        "config.yaml:5: connections.main.budget: too dear"
    ]
