"""deploy/valkey/: servers run with these files, and are what chatq needs."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
import yaml
from compose import ROOT
from installation import until
from server_files import (
    ACL,
    VALKEY,
    DescribedServer,
    known_passwords,
    program,
    settings_of_files_alone,
    users,
    version,
)

from chatq.cli.doctor import examine
from chatq.ledger.ledger import Ledger
from chatq.ledger.server import Server
from servers import RealSentinel, free_port

pytestmark = pytest.mark.skipif(
    version() < (7, 0), reason="a setting of valkey.conf has another name in Redis 6.2"
)


def config(folder: Path, url: str) -> Path:
    path = folder / "config.yaml"
    connections = {"sim": {"source": "custom", "url": "http://127.0.0.1:9/v1", "model": "demo"}}
    path.write_text(json.dumps({"redis": {"url": url}, "connections": connections}))
    path.chmod(0o600)
    return path


def test_doctor_has_nothing_to_say_of_a_server_by_the_file(tmp_path: Path) -> None:
    server = DescribedServer()
    try:
        server.start()
        with settings_of_files_alone():
            found = [finding for finding in examine(config(tmp_path, server.url)) if finding.level != "ok"]
    finally:
        server.remove()
    assert [finding.what for finding in found] == ["workers: none is alive; 0 jobs wait"]


def test_the_command_of_kubernetes_is_one_that_the_server_takes() -> None:
    objects = yaml.safe_load_all((ROOT / "deploy/kubernetes/valkey.yaml").read_text("utf-8"))
    [pod] = [made["spec"]["template"]["spec"] for made in objects if made["kind"] == "StatefulSet"]
    name, _, *options = pod["containers"][0]["command"]
    assert name == "valkey-server"
    server = DescribedServer()
    here = {"*": "127.0.0.1", "-::*": "-::1", "/data": str(server.folder)}
    server._words += tuple(here.get(word, word) for word in options)
    try:
        server.start()
        with contextlib.closing(server.client(decode_responses=True)) as client:
            assert client.config_get("bind", "maxmemory") == {
                "bind": "127.0.0.1 -::1",
                "maxmemory": str(2 << 30),
            }
    finally:
        server.remove()


@pytest.fixture
def failing_over(tmp_path: Path) -> Iterator[tuple[DescribedServer, RealSentinel, str]]:
    """Three servers and a Sentinel, by the files, and the URL of the Sentinel for a producer."""
    acl = users(ACL, VALKEY / "replica.acl")
    least = "min-replicas-to-write 1\nmin-replicas-max-lag 10\nmasteruser replica\nmasterauth replica\n"
    primary = DescribedServer(acl=acl, options=least)
    replicas = [
        DescribedServer("replica.conf", acl=acl, options=f"replicaof 127.0.0.1 {primary.port}\n")
        for _ in range(2)
    ]
    port = free_port()
    lines = [
        line.removeprefix("sentinel ")
        for line in known_passwords((VALKEY / "sentinel.conf").read_text("ascii"))
        .replace("10.0.0.1 6379 2", f"127.0.0.1 {primary.port} 1")
        .splitlines()
        if line.startswith("sentinel ")
    ]
    sentinel = RealSentinel(port, *lines)
    with contextlib.ExitStack() as stack:
        for server in (primary, *replicas, sentinel):
            stack.callback(server.remove)
        for server in (primary, *replicas):
            server.start()
        with contextlib.closing(primary.client()) as client:
            until(lambda: client.info("replication")["min_slaves_good_slaves"] == 2, "the replicas")
        sentinel.start()
        yield primary, sentinel, f"sentinel://producer:producer@127.0.0.1:{port}/chatq/0"


@pytest.mark.thorough
def test_sentinels_by_the_file_fail_over_and_no_job_is_lost(
    failing_over: tuple[DescribedServer, RealSentinel, str], tmp_path: Path
) -> None:
    primary, sentinel, url = failing_over
    with contextlib.closing(sentinel.client(decode_responses=True)) as asked:
        until(lambda: asked.sentinel_master("chatq")["num-slaves"] == 2, "the Sentinel to know the replicas")
        with contextlib.closing(Server(lambda: url)) as server:
            server.run(Ledger("chatq").pause("sim", message="Kept over the failover."))
            primary.kill()
            until(
                lambda: asked.sentinel_get_master_addr_by_name("chatq")[1] != primary.port, "another primary"
            )

            def kept() -> bool:
                with contextlib.suppress(Exception):
                    return "sim" in server.run(Ledger("chatq").paused())
                return False

            assert until(kept, "the new primary to answer")


@pytest.mark.thorough
def test_a_server_by_the_file_for_tls_is_reached_by_who_knows_its_authority(tmp_path: Path) -> None:
    server = DescribedServer("tls.conf", options="loglevel warning\n")
    commands = [
        line.removeprefix("openssl ").split()
        for line in (VALKEY / "README.md").read_text("utf-8").splitlines()
        if line.startswith("openssl ")
    ]
    assert len(commands) == 3
    for words in commands:
        here = [
            word.replace("DNS:HOST", "DNS:localhost").replace("CN=HOST", "CN=localhost") for word in words
        ]
        subprocess.run(["openssl", *here], cwd=server.folder, check=True, capture_output=True)
    try:
        server.start()
    except redis.ConnectionError:
        pytest.skip(f"{program()} has no TLS; CHATQ_TEST_SERVER=/usr/bin/redis-server has")
    else:
        url = f"rediss://producer:producer@localhost:{server.port}/0?ssl_ca_certs={server.folder}/ca.pem"
        with contextlib.closing(Server(lambda: url)) as asked:
            assert asked.run(Ledger("chatq").overview(())).workers == []
    finally:
        server.remove()
