"""Imports what every process that tests fork shall have imported already (see `forked.py`)."""

import gc
from importlib import import_module

_OURS = (
    "chatq.cli.connections",
    "chatq.cli.jobs",
    "chatq.cli.status",
    "chatq.client.asynchronous",
    "chatq.client.blocking",
    "chatq.http.serving",
    "chatq_sandbox.connection",
    "chatq_sandbox.control",
    "chatq_sandbox.source",
    "chatq_worker.main",
    "forked",
)
_WHAT_A_WORKER_IMPORTS_AS_IT_STARTS = (
    "celery.app.amqp",
    "celery.app.log",
    "celery.backends.base",
    "celery.bin.celery",
    "celery.fixups.django",
    "celery.worker.autoscale",
    "celery.worker.components",
    "celery.worker.consumer",
    "celery.worker.consumer.delayed_delivery",
    "celery.worker.control",
    "celery.worker.heartbeat",
    "certifi.core",
    "genai_prices",
    "kombu.transport.memory",
    "uvloop",
)

for _name in (*_OURS, *_WHAT_A_WORKER_IMPORTS_AS_IT_STARTS):
    import_module(_name)
# No child looks through all of this for garbage: a worker does so as it starts.
gc.collect()
gc.freeze()
