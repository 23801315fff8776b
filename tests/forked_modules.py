"""Imports and makes what every process that tests fork shall have already (see `forked.py`)."""

import gc
from importlib import import_module, resources

_OURS = (
    "chatq.cli.connections",
    "chatq.cli.jobs",
    "chatq.cli.status",
    "chatq.client.asynchronous",
    "chatq.client.blocking",
    "chatq.contract.published_settings",
    "chatq.embedded.launch",
    "chatq.http.serving",
    "chatq_sandbox.command",
    "chatq_sandbox.connection",
    "chatq_sandbox.control",
    "chatq_sandbox.source",
    "chatq_worker.consumer",
    "chatq_worker.main",
    "forked",
    "library_versions",
)
_WHAT_THEY_IMPORT_AS_THEY_START = (
    "billiard.pool",
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
    "celery.worker.strategy",
    "certifi.core",
    "encodings.utf_8_sig",
    "genai_prices",
    "kombu.transport.memory",
    "uvicorn.lifespan.on",
    "uvicorn.loops.uvloop",
    "uvloop",
)

for _name in (*_OURS, *_WHAT_THEY_IMPORT_AS_THEY_START):
    import_module(_name)
for _script in resources.files("chatq.ledger").joinpath("scripts").iterdir():
    import_module("chatq.ledger.call").sha(_script.name.removesuffix(".lua"))
import_module("chatq_worker.provider_client").authorities()
# No child looks through all of this for garbage: a worker does so as it starts.
gc.collect()
gc.freeze()
