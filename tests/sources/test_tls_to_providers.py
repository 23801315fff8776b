"""Which certificates of providers are accepted: those of the system's authorities, or of a file of one's own."""

from __future__ import annotations

import os

from tls_server import TlsServer

from forked import run

CALL = """
import asyncio, sys
from chatq.contract.connection import Timeout
from chatq_worker.failures import CallFailed
from chatq_worker.provider_client import HttpProviderClient
from chatq_worker.providers import Request

async def call():
    client = HttpProviderClient(answer_bytes=lambda: 1000)
    try:
        return (await client.send(Request("GET", sys.argv[1], {}), Timeout())).status
    except CallFailed as failure:
        return failure.message
    finally:
        await client.close()

print(asyncio.run(call()))
"""


def called(tls: TlsServer, **variables: str) -> str:
    """What comes of a call, made by a process that has these variables from its start."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("SSL_")}
    return run("-c", CALL, tls.url, environ={**environ, **variables}).stdout.strip()


def test_a_certificate_that_nobody_vouches_for_is_refused(tls: TlsServer) -> None:
    assert called(tls).startswith("The provider's TLS certificate is not accepted: self-signed certificate")


def test_one_of_an_authority_of_ones_own_is_accepted(tls: TlsServer) -> None:
    assert called(tls, SSL_CERT_FILE=str(tls.certificate)) == "501"
