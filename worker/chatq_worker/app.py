"""The Celery app: how Celery is set up to carry wake-ups, and nothing else."""

from __future__ import annotations

from celery import Celery
from kombu import Exchange

from chatq.contract.keys import Keys
from chatq.ledger.sentinels import SCHEME, Sentinels
from chatq_worker import transport
from chatq_worker.control import PrefixedControl
from chatq_worker.events import BatchEvents
from chatq_worker.task_message import celery_queue


def make_app(*, prefix: str, broker_url: str, worker: str | None = None) -> Celery:
    """An app on the broker at `broker_url`. `worker`: the id of the worker whose queue it consumes, if any."""
    stock = transport.is_stock()
    transport.install(stock=stock)
    transport_options = transport.options(prefix) if _is_redis(broker_url) else {}
    if broker_url.startswith(SCHEME):
        sentinels = Sentinels.of(broker_url)
        broker_url = sentinels.celery_url()
        transport_options |= sentinels.celery_options()
    app = Celery(
        "chatq",
        broker=broker_url,
        control=PrefixedControl,
        events=None if stock else BatchEvents,
        set_as_current=False,
    )
    app.conf.update(
        accept_content=["json"],
        task_serializer="json",
        result_backend=None,
        # Early acknowledgement: the ledger holds the truth, and late acks double and lose jobs on Redis.
        task_acks_late=False,
        worker_prefetch_multiplier=1,
        worker_pool="chatq_worker.pool:CoroutinePool",
        worker_consumer="chatq_worker.consumer:PromptConsumer",
        worker_send_task_events=True,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        # It is about late acknowledgements alone; without it Celery warns of them whenever a connection is lost.
        worker_cancel_long_running_tasks_on_connection_loss=True,
        worker_enable_remote_control=True,
        task_track_started=True,
        task_create_missing_queues=True,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        # Redis may refuse what a consumer does: out of memory, a replica for a moment. Without this the worker ends.
        broker_channel_error_retry=True,
        broker_transport_options=transport_options,
        control_exchange=f"{prefix}.control",
        event_exchange=f"{prefix}.events",
        event_queue_prefix=f"{prefix}.events",
        enable_utc=True,
    )
    app.conf.task_default_queue = Keys(prefix).submit_queue
    if worker is not None:
        own = celery_queue(Keys(prefix).worker_queue(worker), no_ack=not stock)
        # What clients without our package submit exists nowhere else yet: it is acknowledged.
        submitted = celery_queue(Keys(prefix).submit_queue, no_ack=False)
        app.conf.task_queues = [own, submitted]
        # Celery moves every queue that it takes in to its own exchange; bound there, each worker that ever ran
        # would be remembered for good.
        for queue in app.conf.task_queues:
            app.amqp.queues[queue.name].exchange = Exchange("")
    return app


def _is_redis(url: str) -> bool:
    return url.startswith(("redis", "sentinel"))
