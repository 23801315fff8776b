"""`chatq batch run`: a file in, a file out, whatever happens on the way.

`CHATQ_TEST_EXAMPLES=1` kills everything during 5,000 lines rather than 300.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from installation import WAIT_S, Install, Installation, until

MANY, MANY_S = 5000, 300
"""Lines of the test in which everything is killed, and its time: 5,000 take some 20 s of CPU time."""


def write_input(path: Path, prompts: Sequence[str], connection: str = "sim") -> Path:
    lines = [
        {
            "custom_id": f"c{number}",
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {"model": connection, "messages": [{"role": "user", "content": prompt}]},
        }
        for number, prompt in enumerate(prompts)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def read_output(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def names(path: Path) -> list[str]:
    return [line["custom_id"] for line in read_output(path)]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """An installation of this module's own: job names need not be unique."""
    with Installation(tmp_path_factory.mktemp("batch-run"), bounds={"job_bytes": "64KiB"}) as made:
        made.start_worker()
        yield made


def test_each_line_gets_its_answer_once(running: Installation, tmp_path: Path) -> None:
    source = write_input(tmp_path / "in.jsonl", [f"job:once-{n} [sim: latency 0..0.1]" for n in range(50)])
    output = tmp_path / "out.jsonl"
    done = running.command("batch", "run", str(source), "-o", str(output))
    assert (done.returncode, done.stdout) == (0, f"{output}: 50 of 50 succeeded\n")
    assert done.stderr == ""
    assert sorted(names(output)) == sorted(f"c{n}" for n in range(50))
    answer = next(line for line in read_output(output) if line["custom_id"] == "c7")["response"]
    assert answer["status_code"] == 200
    assert answer["body"]["object"] == "chat.completion"
    assert "answer to job:once-7 " in answer["body"]["choices"][0]["message"]["content"]
    assert {name: running.calls()[name] for name in running.calls() if name.startswith("once-")} == {
        f"once-{n}": 1 for n in range(50)
    }


def test_redis_lets_go_of_what_was_written(running: Installation, tmp_path: Path) -> None:
    source = write_input(
        tmp_path / "in.jsonl", [f"job:let-go-{n}" for n in range(9)] + ["[sim: no_such_thing]"]
    )
    output = tmp_path / "out.jsonl"
    assert running.command("batch", "run", str(source), "-o", str(output)).returncode == 1
    batch = json.loads((tmp_path / "out.jsonl.chatq").read_text())["batch"]
    left = {record.custom_id for record in running.queue.results(batch)}
    assert left == {"c9"}  # what failed can still be tried again
    assert running.queue.batch(batch).counts.succeeded == 9


def test_a_failed_line_is_in_the_output_and_ends_with_exit_code_1(
    running: Installation, tmp_path: Path
) -> None:
    source = write_input(tmp_path / "in.jsonl", ["job:good", "[sim: no_such_thing]"])
    output = tmp_path / "out.jsonl"
    done = running.command("batch", "run", str(source), "-o", str(output))
    assert (done.returncode, done.stdout) == (1, f"{output}: 1 of 2 succeeded, 1 failed\n")
    assert "chatq batch retry batch_" in done.stderr
    failed = next(line for line in read_output(output) if line["custom_id"] == "c1")
    assert failed["error"] is None
    assert failed["response"]["status_code"] == 400
    assert failed["response"]["body"]["error"]["code"] == "invalid_request"


def test_in_the_order_of_the_input(running: Installation, tmp_path: Path) -> None:
    delays = [0.4, 0.0, 0.3, 0.0, 0.2, 0.0]
    source = write_input(tmp_path / "in.jsonl", [f"job:ordered [sim: latency {delay}]" for delay in delays])
    output = tmp_path / "out.jsonl"
    assert running.command("batch", "run", str(source), "-o", str(output), "--ordered").returncode == 0
    assert names(output) == [f"c{n}" for n in range(6)]


def test_prompts_one_on_a_line(running: Installation, tmp_path: Path) -> None:
    source, output = tmp_path / "prompts.txt", tmp_path / "out.jsonl"
    source.write_text("job:first\n\njob:third  \u2028 one line\n")
    done = running.command("batch", "run", str(source), "--prompts", "-c", "sim", "-o", str(output))
    assert done.returncode == 0
    assert sorted(names(output)) == ["line-1", "line-3"]


BAD = (
    b'\xef\xbb\xbf{"custom_id": "a", "connection": "sim", "prompt": "job:a"}\r\n'
    b"\r\n"
    b'{"custom_id": "a", "connection": "sim", "prompt": "job:b"}\n'
    b'{"custom_id": "x", "connection": "simm", "prompt": "job:c"}\n'
    b"\xff\xfe\n"
    b'{"custom_id": "big", "connection": "sim", "prompt": "'
    + b"x" * 50_000_000
    + b'"}\n{"connection": "sim", "prompt": "last line without its end"}'
)


def test_every_bad_line_is_told_and_nothing_enqueued(running: Installation, tmp_path: Path) -> None:
    source, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_bytes(BAD)
    before = len(running.queue.batches())
    done = running.command("batch", "run", str(source), "-o", str(output))
    assert done.returncode == 2
    assert done.stdout == ""
    told = [line for line in done.stderr.splitlines() if line.startswith(str(source))]
    assert told == [
        f'{source}:4 (custom_id "x"): There is no connection "simm"; did you mean "sim"? Known: sim, once, openai.',
        f"{source}:5: The line is not UTF-8 text at byte 0.",
        f"{source}:6: The line has 50,000,056 bytes; bounds.job_bytes allows a job 65,536.",
        f'{source}:7: The key "custom_id" is missing.',
        f'{source}:3 (custom_id "a"): Its custom_id is that of line 1 already.',
    ]
    assert f"chatq batch: {source}: 5 of 6 lines are bad. Nothing was enqueued." in done.stderr
    assert not output.exists()
    assert len(running.queue.batches()) == before


def test_an_output_that_is_something_else_is_left_alone(running: Installation, tmp_path: Path) -> None:
    source = write_input(tmp_path / "in.jsonl", ["job:left-alone"])
    source.write_bytes(source.read_bytes() + b"bad\n")
    (tmp_path / "out.errors").write_text("mine")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    for output, told in (
        (source, f"The output {source} is the input."),
        (Path("/dev/null"), "The output /dev/null is not a regular file"),
        (tmp_path / "out", f"{tmp_path / 'out.errors'}, where the bad lines are to go, is there already."),
    ):
        done = running.command("batch", "run", str(source), "-o", str(output), "--skip-bad")
        assert (done.returncode, done.stdout) == (2, "")
        assert told in done.stderr
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert "left-alone" not in running.calls()


def test_a_line_that_names_an_openai_model_is_told_how_to_name_the_connection(
    running: Installation, tmp_path: Path
) -> None:
    source = write_input(tmp_path / "in.jsonl", ["hi"], connection="gpt-x")
    source.write_text(
        source.read_text()
        + '{"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": {"messages": []}}\n'
        + '{"custom_id": "b", "prompt": "hi"}\n'
        + '{"custom_id": "c", "connection": "sim", "prompt": ""}\n'
    )
    done = running.command("batch", "run", str(source), "-o", str(tmp_path / "out"))
    assert done.returncode == 2
    told = done.stderr.splitlines()
    for number, what in (
        (1, 'There is no connection "gpt-x".'),
        (2, "body.model: expected CONNECTION or CONNECTION/MODEL"),
        (3, 'The key "connection" is missing.'),
        (4, "the prompt is empty"),
    ):
        [place] = [place for place, line in enumerate(told) if line.startswith(f"{source}:{number} ")]
        assert what in told[place]
        how = "Or name one for the whole file, so that any model will do: -c CONNECTION"
        assert told[place + 1].endswith(how if number < 4 else "-> Correct the line.")


def test_what_somebody_has_to_do_before_it_goes_on_is_said_once_in_a_pipe_too(
    install: Install, tmp_path: Path
) -> None:
    installation = install()
    source = write_input(tmp_path / "in.jsonl", ["hi"])
    command = [sys.executable, "-m", "chatq", "batch", "run", str(source), "-o", str(tmp_path / "out")]
    running = subprocess.Popen(
        [*command, "--config", str(installation.config)],
        env=installation.environ,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with running:
        assert running.stderr is not None
        told = [running.stderr.readline() for _ in range(2)]
        assert told == ["No worker is alive.\n", "  Start a worker: chatq worker (or chatq up).\n"]
        [batch] = installation.queue.batches()
        installation.queue.pause_batch(batch.id)
        told = [running.stderr.readline() for _ in range(2)]
        assert told == [f"Batch {batch.id} is paused.\n", f"Go on: chatq batch resume {batch.id}\n"]
        installation.start_worker()
        installation.queue.resume_batch(batch.id)
        rest = running.stderr.read()
        assert (running.wait(WAIT_S), rest) == (0, "")


@pytest.mark.thorough
def test_skip_bad_goes_on_with_the_good_ones(running: Installation, tmp_path: Path) -> None:
    source, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_bytes(BAD)
    done = running.command("batch", "run", str(source), "-o", str(output), "--skip-bad")
    assert done.returncode == 0
    assert f"5 bad lines were left out: {output}.errors" in done.stderr
    assert names(output) == ["a"]
    errors = read_output(tmp_path / "out.jsonl.errors")
    assert [(line["error"]["line"], line["custom_id"], line["error"]["code"]) for line in errors] == [
        (4, "x", "unknown_connection"),
        (5, None, "invalid_job"),
        (6, None, "job_too_large"),
        (7, None, "invalid_job"),
        (3, "a", "duplicate_custom_id"),
    ]
    again = running.command("batch", "run", str(source), "-o", str(output))
    assert again.returncode == 2
    assert "it was begun without 5 bad lines of its input (--skip-bad)" in again.stderr
    assert running.command("batch", "run", str(source), "-o", str(output), "--skip-bad").returncode == 0


def test_what_is_wrong_with_many_lines_is_said_once_and_prompts_are_recognized(
    running: Installation, tmp_path: Path
) -> None:
    source = tmp_path / "prompts.txt"
    source.write_text("a prompt as it stands\n" * 1000)
    for command in (["submit"], ["run", "-o", str(tmp_path / "out.jsonl")], ["run", "--dry-run"]):
        done = running.command("batch", *command, str(source), "-c", "sim")
        assert done.returncode == 2
        [told] = [line for line in done.stderr.splitlines() if line.startswith(str(source))]
        assert told == f"{source}:1, 2, 3 and 997 more lines: The line is not a JSON object: expecting value."
        assert "If each is a prompt as it stands, say so: --prompts -c CONNECTION." in done.stderr
        assert "--skip-bad" not in done.stderr


def test_a_line_without_a_job_is_named_all_the_same(running: Installation, tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text(
        '{"custom_id": "odd", "connection": "sim", "prompt": "x", "priority": 11}\n'
        '{"custom_id": "good", "connection": "sim", "prompt": "x"}\n'
    )
    done = running.command("batch", "run", str(source), "-o", str(tmp_path / "out.jsonl"))
    assert f'{source}:1 (custom_id "odd"): The job is not valid: pr' in done.stderr
    assert "1 of 2 lines are bad. Nothing was enqueued." in done.stderr
    assert "Correct them; or go on without them: --skip-bad writes them to" in done.stderr


@pytest.mark.thorough
def test_a_dry_run_sends_nothing_and_says_what_it_would_be(install: Install, tmp_path: Path) -> None:
    installation = install(
        connections={
            "priced": {
                "source": "custom",
                "url": "simulator",
                "model": "demo",
                "limits": {"requests_per_minute": 30},
                "price": {"input_per_million": 1, "output_per_million": 1000},
                "params": {"max_tokens": 100},
            },
            "listed": {"source": "openai", "model": "gpt-5-mini", "params": {"max_tokens": 100}},
            "unbounded": {"source": "openai", "model": "gpt-5-mini"},
            "unpriced": {"source": "custom", "url": "simulator", "model": "demo"},
        }
    )
    source = write_input(tmp_path / "in.jsonl", ["x" * 334] * 60, connection="priced")
    done = installation.command("batch", "run", str(source), "--dry-run", "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout) == {
        "jobs": 60,
        "bad": 0,
        "connections": [
            {
                "connection": "priced",
                "model": "demo",
                "jobs": 60,
                "prompt_tokens": 6000,
                "most_answer_tokens": 6000,
                "prompts_cost_usd": 0.006,
                "most_cost_usd": 6.006,
                "shortest_s": 120,
            }
        ],
    }
    source.write_bytes(source.read_bytes() + source.read_bytes().splitlines(keepends=True)[7])
    for more, code in ((), 2), (("--skip-bad",), 0):
        done = installation.command("batch", "run", str(source), "--dry-run", "--json", *more)
        told = json.loads(done.stdout)
        assert (done.returncode, told["jobs"], told["bad"]) == (code, 60, 1)
        assert [(one["jobs"], one["prompt_tokens"]) for one in told["connections"]] == [(60, 6000)]
        assert ("--skip-bad" in done.stderr) == (code == 2)
    assert installation.queue.batches() == []
    source = write_input(tmp_path / "in.jsonl", ["x" * 334] * 60, connection="priced")
    assert "about 6,000" in installation.command("batch", "run", str(source), "--dry-run").stdout
    # $0.25 in and $2 out for a million, as the price library has it
    source = write_input(tmp_path / "in.jsonl", ["x" * 334] * 60, connection="listed")
    done = installation.command("batch", "run", str(source), "--dry-run", "--json")
    assert json.loads(done.stdout)["connections"][0]["most_cost_usd"] == pytest.approx(0.0135)
    for connection, cost in {
        "listed": "at most $0.0135",
        "unbounded": "$0.0015 and the answers",
        "unpriced": "unknown",
    }.items():
        source = write_input(tmp_path / "in.jsonl", ["x" * 334] * 60, connection=connection)
        assert f"  {cost}  " in installation.command("batch", "run", str(source), "--dry-run").stdout


def test_run_again_when_all_is_done_changes_nothing(running: Installation, tmp_path: Path) -> None:
    source = write_input(tmp_path / "in.jsonl", ["job:again"])
    output = tmp_path / "out.jsonl"
    running.command("batch", "run", str(source), "-o", str(output))
    before = output.read_bytes()
    done = running.command("batch", "run", str(source), "-o", str(output))
    assert (done.returncode, done.stdout) == (0, f"{output}: 1 of 1 succeeded\n")
    assert output.read_bytes() == before
    assert running.calls()["again"] == 1
    output.write_bytes(before + b"a note\n")
    assert running.command("batch", "run", str(source), "-o", str(output)).returncode == 0
    assert output.read_bytes() == before + b"a note\n"
    batch = json.loads((tmp_path / "out.jsonl.chatq").read_text())["batch"]
    told = running.command("batch", "results", batch)
    assert (told.returncode, told.stdout) == (0, "")
    assert "1 result is not on the server" in told.stderr


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("another input", "is not the input that it was made from"),
        ("another option", "it was begun without --ordered."),
        ("a shorter output", "is shorter than it was: results have been taken out of it, or it was removed."),
        ("no sidecar", "it is of no batch that could be gone on with."),
        ("a broken sidecar", "cannot be read: it is not as chatq wrote it."),
    ],
)
def test_files_that_do_not_belong_together_are_refused_with_both_ways_out(
    running: Installation, tmp_path: Path, change: str, told: str
) -> None:
    source = write_input(tmp_path / "in.jsonl", ["job:mismatch", "job:mismatch"])
    output, sidecar = tmp_path / "out.jsonl", tmp_path / "out.jsonl.chatq"
    command = ["batch", "run", str(source), "-o", str(output)]
    running.command(*command)
    match change:
        case "another input":
            write_input(source, ["job:something-else"])
        case "another option":
            command.append("--ordered")
        case "a shorter output":
            output.write_bytes(output.read_bytes()[:-9])
        case "no sidecar":
            sidecar.unlink()
        case _:
            sidecar.write_text("{")
    kept = output.read_bytes()
    done = running.command(*command)
    assert done.returncode == 2
    assert told in done.stderr
    assert "remove" in done.stderr
    assert "Traceback" not in done.stderr
    assert output.read_bytes() == kept


@pytest.mark.thorough
def test_two_runs_into_one_output_are_refused(running: Installation, tmp_path: Path) -> None:
    source = write_input(tmp_path / "in.jsonl", ["job:long [sim: latency 60]"])
    output = tmp_path / "out.jsonl"
    command = [sys.executable, "-m", "chatq", "batch", "run", str(source), "-o", str(output)]
    command += ["--config", str(running.config)]
    with subprocess.Popen(command, env=running.environ, stderr=subprocess.PIPE, text=True) as first:
        until(lambda: (tmp_path / "out.jsonl.chatq").exists(), "the first run to begin")
        second = running.command("batch", "run", str(source), "-o", str(output))
        assert second.returncode == 2
        assert f"Another chatq batch run writes {output}." in second.stderr
        until(lambda: json.loads((tmp_path / "out.jsonl.chatq").read_text())["sealed"], "all to be enqueued")
        first.send_signal(signal.SIGINT)
        _, told = first.communicate(timeout=WAIT_S)
    assert first.returncode == 130
    batch = running.queue.batches()[0]
    assert told == (
        f"Batch {batch.id} goes on. Come back to it with the same command, or stop it: chatq batch cancel {batch.id}\n"
    )
    assert not batch.cancel_requested
    running.queue.cancel_batch(batch.id)


@pytest.mark.thorough
@pytest.mark.timeout(MANY_S)
def test_killed_again_and_again_each_line_is_there_once(install: Install, tmp_path: Path) -> None:
    """The command, a worker and the server die; the same command again goes on. `bench/kill_batch.py` does it with
    100,000 lines."""
    installation = install(worker={"slots": 40, "lease": "1s"})
    installation.start_workers(2)
    count = MANY
    source = write_input(tmp_path / "in.jsonl", [f"job:k-{n} [sim: latency 0..0.3]" for n in range(count)])
    output = tmp_path / "out.jsonl"
    command = [sys.executable, "-m", "chatq", "batch", "run", str(source), "-o", str(output)]
    command += ["--config", str(installation.config)]

    def written() -> int:
        return output.read_bytes().count(b"\n") if output.exists() else 0

    for share in (0.1, 0.4):
        with subprocess.Popen(command, env=installation.environ, stderr=subprocess.DEVNULL) as run:
            until(lambda share=share: written() >= share * count, "results to be written", within_s=MANY_S)  # type: ignore[misc]
            run.kill()
        with output.open("ab") as torn:
            torn.write(b'{"id": "cut o')
    installation.workers[0].kill()
    for worker in installation.workers:
        worker.expect("Cannot connect to redis", "Connection to broker lost")
    installation.kill_server()
    installation.restart_server()
    done = subprocess.run(
        command, env=installation.environ, capture_output=True, text=True, timeout=MANY_S, check=False
    )
    assert done.returncode == 0, done.stderr
    assert Counter(names(output)) == {f"c{n}": 1 for n in range(count)}
    twice = {name for name, calls in installation.calls().items() if calls > 1}
    assert len(twice) <= 80  # what was in flight when worker and server died


def test_results_are_printed_as_they_come(running: Installation, tmp_path: Path) -> None:
    source = write_input(tmp_path / "in.jsonl", ["job:printed [sim: latency 0.3]", "job:printed"])
    submitted = running.command("batch", "submit", str(source))
    assert submitted.returncode == 0
    shown = running.command("batch", "results", submitted.stdout.strip(), "--follow")
    assert [json.loads(line)["custom_id"] for line in shown.stdout.splitlines()] == ["c1", "c0"]
    rest = running.command("batch", "results", submitted.stdout.strip(), "--cursor", "1", "--json")
    assert [json.loads(line)["state"] for line in rest.stdout.splitlines()] == ["succeeded"]
