"""A connection that is taken out of config.yaml while its jobs wait: they are not out of sight."""

from __future__ import annotations

import json

from installation import Install


def test_jobs_of_a_connection_that_is_no_more_are_told_by_status_and_doctor(install: Install) -> None:
    installation = install()
    installation.queue.enqueue_batch(["job:a", "job:b"], "once")
    assert installation.queue.overview()["elsewhere"] == 0
    settings = json.loads(installation.config.read_text())
    del settings["connections"]["once"]
    installation.config.write_text(json.dumps(settings))

    said = installation.command("status")
    assert "2 jobs wait for connections that are not in config.yaml." in said.stdout
    assert json.loads(installation.command("status", "--json").stdout)["elsewhere"] == 2
    found = installation.command("doctor")
    assert found.returncode == 1
    assert "backlog: 2 jobs wait for connections that are not in config.yaml." in found.stdout
