"""What the worker's transport takes for granted of kombu, beyond its public names: an update that changes it fails."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from kombu import Connection
from kombu.transport import redis as kombu_redis

from chatq.embedded import as_broker_url
from chatq_worker import transport
from for_each import for_each

OURS = [
    (ours, name)
    for ours in (transport._Prefixed, transport._Bulk)
    for name, value in vars(ours).items()
    if inspect.isfunction(value) and name != "__init__"
]
PARTS_OF_THEIRS = [(ours, name) for ours, name in OURS if hasattr(kombu_redis.Channel, name)]


def parameters(function: Any) -> set[str]:
    kinds = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}
    return {name for name, it in inspect.signature(function).parameters.items() if it.kind not in kinds}


def test_what_our_channels_replace_of_kombus_is_this() -> None:
    """A method that kombu renames would stay behind as one that nobody calls."""
    assert {name for _, name in PARTS_OF_THEIRS} == {
        "_brpop_read",
        "_brpop_start",
        "_deliver_fanout_message",
        "basic_ack",
        "basic_consume",
        "basic_reject",
        "close",
        "conn_or_acquire",
        "queue_delete",
    }


@pytest.mark.parametrize("ours", [False, True], ids=["kombu's own", "ours"])
def test_a_channel_whose_connection_was_lost_closes_with_a_message_unacknowledged(
    valkey_url: str, monkeypatch: pytest.MonkeyPatch, ours: bool
) -> None:
    """When kombu's own does too, `do_restore` of `transport.py` can go."""
    with Connection(as_broker_url(valkey_url)) as connection:
        connection.transport.Channel = transport.Channel if ours else kombu_redis.Channel
        channel = connection.channel()
        channel.qos._delivered["tag"] = object()
        # What kombu does with a connection that it has lost, before it closes the channels.
        monkeypatch.setattr(channel.connection, "client", None)
        channel.connection_errors = ()
        if ours:
            channel.qos.restore_unacked_once()
        else:
            with pytest.raises(AttributeError, match="hostname"):
                channel.qos.restore_unacked_once()
        channel.qos._delivered.clear()
        monkeypatch.undo()


@pytest.mark.parametrize(
    ("ours", "name"), PARTS_OF_THEIRS, ids=lambda value: getattr(value, "__name__", value)
)
def test_each_takes_what_kombus_own_takes(ours: type, name: str) -> None:
    function = getattr(ours, name)
    kinds = {it.kind for it in inspect.signature(function).parameters.values()}
    takes_any = inspect.Parameter.VAR_POSITIONAL in kinds or inspect.Parameter.VAR_KEYWORD in kinds
    theirs = parameters(getattr(kombu_redis.Channel, name))
    assert theirs <= parameters(function) or takes_any


@for_each("name", ["_create_client", "_flush_brpop_reauth", "_q_for_pri", "pool", "client"])
def test_what_our_channels_call_is_there(name: str) -> None:
    assert hasattr(kombu_redis.Channel, name)
