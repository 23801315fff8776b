from __future__ import annotations

import asyncio

import pytest
from celery import Celery
from celery.exceptions import ImproperlyConfigured, Retry

from chatq_worker.coroutine_task import CoroutineAbortedError, CoroutineTask, Outcome
from for_each import for_each


def ended_with(error: BaseException) -> Outcome:
    return Outcome(started_s=1.0, ended_s=2.0, error=error)


def test_a_value_is_replayed_as_a_value() -> None:
    assert Outcome(started_s=1.0, ended_s=2.0, value={"state": "succeeded"}).replay() == {
        "state": "succeeded"
    }


@pytest.mark.parametrize("error", [ValueError("no such model"), Retry("cooling")])
def test_an_exception_is_replayed_as_itself(error: Exception) -> None:
    with pytest.raises(type(error)) as raised:
        ended_with(error).replay()
    assert raised.value is error


@for_each(
    "error", [SystemExit(3), KeyboardInterrupt(), MemoryError(), asyncio.CancelledError(), GeneratorExit()]
)
def test_what_would_end_the_process_is_replayed_as_a_failure_that_names_it(error: BaseException) -> None:
    with pytest.raises(CoroutineAbortedError) as raised:
        ended_with(error).replay()
    assert str(raised.value) == f"the coroutine ended with {error!r}"
    assert raised.value.__cause__ is error


def test_a_coroutine_task_called_outside_of_the_pool_says_which_pool_it_needs() -> None:
    class Complete(CoroutineTask):
        name = "complete"

        async def execute(self) -> None: ...

    task = Complete()
    Celery("test", set_as_current=False).register_task(task)
    with pytest.raises(ImproperlyConfigured, match=r'worker_pool = "chatq_worker\.pool:CoroutinePool"'):
        task()


def test_a_coroutine_task_with_a_body_of_its_own_is_refused() -> None:
    with pytest.raises(TypeError, match="its `run` belongs to the pool"):

        class Complete(CoroutineTask):
            async def execute(self) -> None: ...

            def run(self) -> None: ...


def test_a_coroutine_task_made_by_the_decorator_is_refused() -> None:
    app = Celery("test", set_as_current=False)
    with pytest.raises(TypeError, match=r"Write a class and app\.register_task\(\)"):

        @app.task(base=CoroutineTask, lazy=False, shared=False)
        def complete() -> None: ...


def test_a_plain_function_as_execute_is_refused() -> None:
    with pytest.raises(TypeError, match=r"Complete\.execute must be `async def`"):

        class Complete(CoroutineTask):
            def execute(self) -> None: ...
