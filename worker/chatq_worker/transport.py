"""kombu's Redis transport with every key of its own under our prefix.

Stock key format, so other tools still read the queues. Transport options name the keys; kombu reads only some of
them from there, so the channel is taught the rest.
"""

from __future__ import annotations

from typing import Any

from kombu.transport import TRANSPORT_ALIASES
from kombu.transport import redis as kombu_redis


class Channel(kombu_redis.Channel):  # type: ignore[misc]  # kombu has no types
    """The stock channel; three more key names come from the transport options, and topics may begin with our prefix."""

    from_transport_options = (
        *kombu_redis.Channel.from_transport_options,
        "keyprefix_queue",
        "keyprefix_binding_deadlines",
        "keyprefix_binding_permanent",
    )

    def basic_ack(self, delivery_tag: str, multiple: bool = False) -> None:
        # Messages of queues without acknowledgements were never noted down; Celery acknowledges them all the same.
        if delivery_tag in self.qos._delivered:
            super().basic_ack(delivery_tag, multiple)

    def _deliver_fanout_message(self, message: Any, exchange: str) -> Any:
        # kombu takes only a prefix of the form `/DB.` off a topic; with another it knows no such exchange, and the
        # KeyError ends the connection of whoever listens: of every worker, at every broadcast of Flower's.
        return super()._deliver_fanout_message(message, exchange.removeprefix(self.keyprefix_fanout))


class Transport(kombu_redis.Transport):  # type: ignore[misc]
    """The stock transport with our channel."""

    Channel = Channel


def install() -> None:
    """Make kombu use this transport for redis:// and rediss:// in this process, whichever way it is told the URL."""
    for scheme in ("redis", "rediss"):
        TRANSPORT_ALIASES[scheme] = "chatq_worker.transport:Transport"


def options(prefix: str) -> dict[str, Any]:
    """Transport options that put kombu's keys under `prefix`."""
    return {
        "unacked_key": f"{prefix}:celery:unacked",
        "unacked_index_key": f"{prefix}:celery:unacked-index",
        "unacked_mutex_key": f"{prefix}:celery:unacked-mutex",
        "keyprefix_queue": f"{prefix}:celery:binding.%s",
        "keyprefix_binding_deadlines": f"{prefix}:celery:binding-deadlines",
        "keyprefix_binding_permanent": f"{prefix}:celery:binding-permanent.%s",
        # No slash in it: behind the exchange's name a slash sets off the routing key.
        "fanout_prefix": f"{prefix}:celery:{{db}}.",
        "socket_keepalive": True,
    }
