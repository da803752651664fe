"""What a handler does to its process costs its own attempt alone."""

from __future__ import annotations

import asyncio
import contextlib
import math
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from ark_agent import Context, NotNow
from ark_agent import worker as worker_module
from ark_agent.options import WorkLimits
from ark_taskqueue import Client, Consumer, Ended, Producer, QueueKeys, Result, read_depth
from ark_taskqueue.tasks.reserved import BACKOFF, READY
from tests.agent.working import working
from tests.eventually import eventually
from tests.taskqueue.moving_time import owner_of


async def result_of(client: Client, queue: QueueKeys, task_id: str) -> Result:
    async with asyncio.timeout(60):
        return await Producer(client, queue).wait_for_result(task_id)


async def _exit_at_once() -> None:
    sys.exit("enough")


async def _exit_in_a_task() -> None:
    await asyncio.create_task(_exit_at_once())


async def _exit_in_a_group() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(_exit_at_once())
        group.create_task(asyncio.sleep(60))


async def _exit_in_gather() -> None:
    await asyncio.gather(_exit_in_a_task(), asyncio.sleep(0))


async def _exit_in_a_thread() -> None:
    await asyncio.to_thread(sys.exit, 3)


async def _interrupt() -> None:
    raise KeyboardInterrupt


async def _interrupt_in_a_task() -> None:
    await asyncio.ensure_future(_interrupt())


async def _leave_a_generator() -> None:
    raise GeneratorExit


async def _leave_a_generator_in_a_task() -> None:
    await asyncio.create_task(_leave_a_generator())


class _Odd(BaseException):
    pass


async def _odd() -> None:
    raise _Odd


async def _cancelled() -> None:
    raise asyncio.CancelledError


async def _exit_in_a_forgotten_task() -> None:
    forgotten = asyncio.create_task(_exit_at_once())
    await asyncio.wait([forgotten])
    assert forgotten.exception() is not None
    raise ValueError("after it")


def _exit() -> str:
    sys.exit(1)


class _Exits(Exception):
    def __str__(self) -> str:
        return _exit()


async def _text_exits() -> None:
    raise _Exits


def _nested() -> BaseException:
    error: Exception = ValueError("x")
    for _ in range(3000):
        error = ExceptionGroup("deeper", [error])
    return error


async def _nests() -> None:
    raise _nested()


_WAYS = (
    _text_exits,
    _nests,
    _exit_at_once,
    _exit_in_a_task,
    _exit_in_a_group,
    _exit_in_gather,
    _exit_in_a_thread,
    _interrupt,
    _interrupt_in_a_task,
    _leave_a_generator,
    _leave_a_generator_in_a_task,
    _odd,
    _cancelled,
    _exit_in_a_forgotten_task,
)


@pytest.mark.parametrize("way", _WAYS)
async def test_a_handler_that_asks_for_the_end_of_the_process_fails_its_own_attempt(
    client: Client, queue: QueueKeys, way: Callable[[], Awaitable[None]]
) -> None:
    async def handler(context: Context) -> str:
        if context.task.prompt == "bad":
            await way()
        await asyncio.sleep(0.3)
        return "done"

    producer = Producer(client, queue)
    async with working(client, queue, handler):
        good = [(await producer.submit("good")).task_id for _ in range(2)]
        bad = (await producer.submit("bad")).task_id
        good.append((await producer.submit("good")).task_id)
        for task_id in good:
            result = await result_of(client, queue, task_id)
            assert (result.status, result.attempts) == ("completed", 1)
        result = await result_of(client, queue, bad)
    assert (result.status, result.attempts) == ("dead", 3)


@pytest.mark.parametrize("answer", [{1, 2}, math.nan, {"a": [math.inf]}, object(), {"a": b"x"}, {(1, 2): 3}])
async def test_what_cannot_be_stored_is_paid_for_once(client: Client, queue: QueueKeys, answer: object) -> None:
    asked = 0

    async def handler(_: Context) -> object:
        nonlocal asked
        asked += 1
        return answer

    async with working(client, queue, handler):
        result = await result_of(client, queue, (await Producer(client, queue).submit("x")).task_id)
    assert (result.status, result.attempts, asked) == ("dead", 1, 1)
    assert "JSON cannot hold" in result.error


async def test_a_handler_that_says_not_now_for_one_task_does_not_stop_the_others(
    client: Client, queue: QueueKeys
) -> None:
    async def handler(context: Context) -> str:
        if context.task.prompt == "later":
            raise NotNow("its data is not there yet")
        return "done"

    producer = Producer(client, queue)
    for _ in range(4):
        await producer.submit("later")
    good = [(await producer.submit("now")).task_id for _ in range(4)]
    async with working(client, queue, handler, limits=WorkLimits(concurrent_tasks=2)):
        for task_id in good:
            assert (await result_of(client, queue, task_id)).status == "completed"
    assert (await read_depth(client, queue)).demand == 4, "and they are still there"


@pytest.mark.parametrize("stubborn", [True, False])
async def test_a_handler_that_does_not_let_itself_be_cancelled_keeps_its_task_until_the_process_ends(
    client: Client, queue: QueueKeys, stubborn: bool
) -> None:
    let_go, ended = asyncio.Event(), []

    async def handler(_: Context) -> str:
        while not let_go.is_set():
            try:
                await let_go.wait()
            except asyncio.CancelledError:
                if not stubborn:
                    raise
        return "late"

    def end(code: int) -> None:
        ended.append(code)
        let_go.set()  # a real process would be gone

    await Producer(client, queue).submit("x")
    async with working(client, queue, handler, limits=WorkLimits(grace_seconds=0.1), end=end) as worker:
        await eventually(lambda: bool(worker.held()), "the task in hand")
    assert ended == ([1] if stubborn else [])
    depth = await read_depth(client, queue)
    assert (depth.waiting, depth.in_flight) == (1, 0)


class _ExitingText(str):
    def encode(self, *_: object, **__: object) -> bytes:
        sys.exit(1)


class _ExitingMap(dict[str, str]):
    def items(self) -> Any:
        sys.exit(1)


@pytest.mark.parametrize("at", ["call", "cancel", "text", "map"])
async def test_what_exits_outside_of_the_handlers_own_steps_costs_nobody_else(
    client: Client, queue: QueueKeys, at: str
) -> None:
    async def good(_: Context) -> str:
        await asyncio.sleep(0.3)
        return "done"

    async def answer(made: object) -> object:
        return made

    def handler(context: Context) -> Any:
        if context.task.prompt == "good":
            return good(context)
        if at == "cancel":
            raise asyncio.CancelledError
        if at == "call":
            sys.exit(1)
        return answer(_ExitingText("x") if at == "text" else _ExitingMap(a="b"))

    producer = Producer(client, queue)
    async with working(client, queue, handler):
        ids = [(await producer.submit(prompt)).task_id for prompt in ("good", "bad", "good")]
        results = [await result_of(client, queue, task_id) for task_id in ids]
    assert [(one.status, one.attempts) for one in results[::2]] == [("completed", 1)] * 2
    if at == "text":
        assert (results[1].status, results[1].output) == ("completed", "x")
    else:
        assert results[1].status == "dead"


async def test_the_end_of_the_worker_itself_is_nobodys_attempt(client: Client, queue: QueueKeys) -> None:
    """As when a callback of a handler's ends the event loop."""
    begun = asyncio.Event()

    async def handler(_: Context) -> str:
        begun.set()
        await asyncio.sleep(60)
        return "late"

    task_id = (await Producer(client, queue).submit("x")).task_id

    async def work() -> None:
        async with working(client, queue, handler):
            await asyncio.sleep(60)

    running = asyncio.create_task(work())
    await begun.wait()
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        if task is not running:
            task.cancel()
    running.cancel()
    await asyncio.wait([running], timeout=20)
    assert await Producer(client, queue).result(task_id) is None
    assert await owner_of(client, queue, task_id) != BACKOFF, "no failure is written down"


async def test_a_handler_that_outlives_its_time_fails_and_the_process_ends(
    client: Client, queue: QueueKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "_STUBBORN_SECONDS", 0.5)
    let_go, ended = asyncio.Event(), list[int]()

    async def handler(context: Context) -> str:
        while context.task.prompt == "stubborn" and not let_go.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await let_go.wait()
        return "done"

    def end(code: int) -> None:
        ended.append(code)
        let_go.set()  # a real process would be gone

    producer = Producer(client, queue)
    limits = WorkLimits(concurrent_tasks=1, task_seconds=0.5, grace_seconds=1)
    stubborn = (await producer.submit("stubborn")).task_id
    async with working(client, queue, handler, limits=limits, end=end):
        await eventually(lambda: bool(ended), "the process's end", 30)
    assert await owner_of(client, queue, stubborn) in (BACKOFF, READY), "it has failed, and is tried again"


async def test_an_attempt_whose_failure_cannot_be_reported_yet_does_not_end_the_process(
    client: Client, queue: QueueKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its handler has ended in time; it is Redis that takes long."""
    monkeypatch.setattr(worker_module, "_STUBBORN_SECONDS", 0.2)
    fail, ended = Consumer.fail, list[int]()

    async def slowly(self: Consumer, *arguments: Any, **options: Any) -> Ended:
        await asyncio.sleep(2.5)
        return await fail(self, *arguments, **options)

    async def handler(context: Context) -> str:
        await asyncio.sleep(60 if context.task.delivery == 1 else 0)
        return "done"

    monkeypatch.setattr(Consumer, "fail", slowly)
    async with working(client, queue, handler, limits=WorkLimits(task_seconds=0.3), end=ended.append):
        result = await result_of(client, queue, (await Producer(client, queue).submit("x")).task_id)
    assert (result.status, result.attempts, ended) == ("completed", 2, [])
