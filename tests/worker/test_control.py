"""Celery's remote control keeps to our prefix: its queues are keys of Redis."""

from __future__ import annotations

from broker_testing import PREFIX, app_on


def test_the_queues_of_remote_control_begin_with_the_prefix(valkey_url: str) -> None:
    with app_on(valkey_url) as app:
        mailbox = app.control.mailbox
        assert (
            mailbox.get_queue("chatq@host-1").name == f"{PREFIX}.control.chatq@host-1.{PREFIX}.control.pidbox"
        )
        assert mailbox.reply_queue.name.startswith(f"{PREFIX}.control.")
        assert mailbox.reply_queue.routing_key == mailbox.oid
