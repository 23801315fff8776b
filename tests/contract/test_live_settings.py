"""Settings of a running worker, on real files."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from chatq.contract.config_file import load_settings
from chatq.contract.live_settings import Change, LiveSettings
from chatq.contract.settings import Settings

BEGINNING = """\
worker: {slots: 10, grace: 5s}
connections:
  alpha: {source: openai, model: gpt-5-mini}
  beta: {source: openai, model: gpt-5-mini, api_key: "file:key"}
"""


class Watched:
    """A config.yaml with a key file beside it, and the live settings made from it."""

    def __init__(self, folder: Path) -> None:
        self.config = folder / "config.yaml"
        self.key = folder / "key"
        self.key.write_text("sk-first")
        self.config.write_text(BEGINNING)
        self.live = LiveSettings(
            load_settings(self.config, environ={}), lambda path: load_settings(path, environ={})
        )
        assert self.look_twice() is None

    def look_twice(self) -> Change | None:
        """What is there now, taken as standing still."""
        return self.live.look() or self.live.look()

    def replace(self, old: str, new: str) -> Change | None:
        """Edit the file as editors do: a new one takes the place of the old."""
        text = self.config.read_text()
        assert old in text
        written = self.config.with_name("config.yaml.new")
        written.write_text(text.replace(old, new))
        written.rename(self.config)
        return self.look_twice()


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path)


def test_a_changed_connection_is_taken_up_and_named(watched: Watched) -> None:
    assert watched.replace("alpha: {", "alpha: {limits: {concurrency: 3}, ") == Change(frozenset({"alpha"}))
    assert watched.live.current.connections["alpha"].limits.concurrency == 3


def test_a_new_connection_is_taken_up_and_named(watched: Watched) -> None:
    assert watched.replace("  beta:", "  gamma: {source: cohere}\n  beta:") == Change(frozenset({"gamma"}))
    assert list(watched.live.current.connections) == ["alpha", "gamma", "beta"]


def test_a_connection_that_is_taken_out_is_gone(watched: Watched) -> None:
    assert watched.replace("  alpha: {source: openai, model: gpt-5-mini}\n", "") == Change(frozenset())
    assert list(watched.live.current.connections) == ["beta"]


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ('promptPlaceholder: "..."', "promptPlaceholder"),
        ("bounds: {answer_bytes: 1MiB}", "bounds.answer_bytes"),
        ("results: {keep: 2d}", "results.keep"),
    ],
)
def test_settings_beside_connections_are_taken_up(
    watched: Watched, line: str, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    assert watched.replace("connections:", f"{line}\nconnections:") == Change(frozenset())
    assert caplog.messages == [f"took up {watched.config}: {key}"]
    assert watched.live.current == load_settings(watched.config, environ={})


def test_the_log_names_what_was_taken_up(watched: Watched, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    watched.replace("grace: 5s", "grace: 6s")
    watched.replace("alpha: {", "alpha: {params: {seed: 1}, ")
    assert caplog.messages == [
        f"took up {watched.config}: worker.grace",
        f"took up {watched.config}: connections.alpha",
    ]


def test_a_file_that_is_wrong_is_refused_and_every_problem_told(
    watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    before = watched.live.current
    assert watched.replace("alpha: {", "alpha: {limit: 3, post_processing: none of these, ") is None
    assert watched.live.current is before
    modes = "none merge merge_tools semi semi_tools strict strict_tools single"
    line = f"{watched.config}:3: connections.alpha"
    assert watched.live.problems == (
        f'{line}.post_processing: expected one of {modes}, got "none of these"',
        f'{line}.limit: unknown key; did you mean "limits"?',
    )
    assert caplog.messages == [
        f"{watched.config} is refused, the settings before it go on: {'; '.join(watched.live.problems)}"
    ]


def test_of_a_file_full_of_mistakes_the_first_twenty_are_told(watched: Watched) -> None:
    watched.replace("alpha: {", "alpha: {" + "".join(f"wrong{n}: 1, " for n in range(50)))
    assert len(watched.live.problems) == 21
    assert watched.live.problems[-1] == "... and 30 more"


def test_a_file_put_right_again_has_no_problems_any_more(
    watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    watched.replace("source: openai, model", "sauce: openai, model")
    caplog.clear()
    caplog.set_level(logging.INFO)
    assert watched.replace("sauce", "source") is None
    assert watched.live.problems == ()
    assert caplog.messages == [f"{watched.config} is right again"]


def test_a_file_that_is_gone_is_told_and_what_it_said_goes_on(watched: Watched) -> None:
    before = watched.live.current
    watched.config.unlink()
    assert watched.look_twice() is None
    assert watched.live.current is before
    assert "there is no such file" in watched.live.problems[0]


def test_a_file_is_read_only_when_it_has_stood_still_between_two_looks(watched: Watched) -> None:
    """A file that is being written may be right and too short."""
    whole = BEGINNING + "  gamma: {source: cohere}\n"
    watched.config.write_text(whole[: whole.index("  beta")])
    assert watched.live.look() is None
    watched.config.write_text(whole)
    assert watched.live.look() is None
    assert list(watched.live.current.connections) == ["alpha", "beta"]
    assert watched.live.look() == Change(frozenset({"gamma"}))


def test_a_file_that_did_not_change_is_not_read(tmp_path: Path) -> None:
    config, read = tmp_path / "config.yaml", []
    config.write_text(BEGINNING)

    def load(path: Path) -> Settings:
        read.append(path)
        return load_settings(path, environ={})

    live = LiveSettings(load_settings(config, environ={}), load)
    for _ in range(5):
        assert live.look() is None
    assert read == [config]  # once: it may have changed between its loading and the first look
    os.utime(config)
    for _ in range(5):
        assert live.look() is None
    assert read == [config, config]


def test_a_change_between_loading_and_the_first_look_is_found(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(BEGINNING)
    loaded = load_settings(config, environ={})
    config.write_text(BEGINNING.replace("gpt-5-mini", "gpt-5-nano"))
    live = LiveSettings(loaded, lambda path: load_settings(path, environ={}))
    assert (live.look(), live.look()) == (None, Change(frozenset({"alpha", "beta"})))


def test_what_a_worker_has_from_its_start_is_kept_and_named(
    watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    changed = watched.replace(
        "worker: {slots: 10, grace: 5s}",
        "worker: {slots: 20, processes: 2, lease: 60s}\nredis: {url: 'redis://:secret@h:1/0'}\nlog: {level: debug}",
    )
    assert changed == Change(frozenset())
    current = watched.live.current
    assert (current.worker.slots, current.worker.processes, current.worker.lease) == (10, 1, 60.0)
    assert (current.redis.url.partition(":")[0], current.log.level) == ("embedded", "info")
    assert watched.live.kept == ("redis.url", "worker.slots", "worker.processes", "log.level")
    assert caplog.messages == [
        f"took up {watched.config}: worker.lease, worker.grace",
        "kept as it was until the workers are restarted: redis.url, worker.slots, worker.processes, log.level",
    ]
    watched.config.write_text(BEGINNING)
    watched.look_twice()
    assert watched.live.kept == ()


def test_another_key_in_a_key_file_is_a_change_of_its_connections(watched: Watched) -> None:
    watched.key.write_text("sk-second-key")
    assert watched.look_twice() == Change(frozenset({"beta"}))
    assert watched.look_twice() is None


def test_the_key_file_that_a_new_reference_names_is_watched(watched: Watched) -> None:
    other = watched.config.with_name("other")
    other.write_text("sk-other")
    assert watched.replace("file:key", "file:other") == Change(frozenset({"beta"}))
    assert watched.look_twice() is None
    other.write_text("sk-other-and-longer")
    assert watched.look_twice() == Change(frozenset({"beta"}))


def test_settings_that_came_from_no_file_stay() -> None:
    live = LiveSettings(Settings())
    assert (live.look(), live.look(), live.current) == (None, None, Settings())
