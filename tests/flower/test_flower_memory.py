"""What Flower keeps of workers that are gone: each run of a worker has a name of its own, so they would pile up."""

from __future__ import annotations

import asyncio

from flower.app import Flower
from flower.events import EventsState
from flower.options import options
from tornado.ioloop import IOLoop

from chatq_worker.app import make_app
from chatq_worker.flower import forget_the_gone


def heartbeat(state: EventsState, worker: str, clock: int) -> None:
    state.event({
        "type": "worker-heartbeat", "hostname": worker, "timestamp": float(clock), "local_received": float(clock),
        "clock": clock, "utcoffset": 0, "freq": 2.0, "active": 0, "processed": 0, "pid": clock,
    })  # fmt: skip


async def flower_that_saw(*workers: str, keeps: int) -> Flower:
    app = make_app(prefix="chatq", broker_url="memory://")
    web = Flower(capp=app, options=options, io_loop=IOLoop.current())
    web.events.state = EventsState(max_workers_in_memory=keeps)
    for clock, worker in enumerate(workers, 1):
        heartbeat(web.events.state, worker, clock)
        web.inspector.workers[worker]["stats"] = {}
    forget_the_gone(web)
    web.executor.shutdown()
    return web


def test_of_workers_beyond_its_limit_flower_keeps_nothing() -> None:
    web = asyncio.run(flower_that_saw("chatq@a", "chatq@b", "chatq@c", keeps=2))
    assert sorted(web.events.state.counter) == ["chatq@b", "chatq@c"]
    assert sorted(web.inspector.workers) == ["chatq@b", "chatq@c"]
