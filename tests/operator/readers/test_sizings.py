"""A question to the process that chooses sizings."""

from __future__ import annotations

import asyncio

import psutil
import pytest

from ark_operator.readers.sizings import NotAnswered, ask
from ark_sizing.choice import size
from ark_sizing.exchange import Question
from ark_sizing.record import Span, spans_of
from ark_sizing.setting import Setting
from ark_sizing.simulation import Pool
from hack.bench import generated

POOL, SAFE = Pool(start_seconds=10.0), Setting(tasks_per_replica=3)


async def test_it_answers_with_the_choice() -> None:
    record = spans_of(generated.bursts(1500.0))
    assert await ask(Question(record, POOL, SAFE, None, None)) == size(record, POOL, SAFE)


async def test_a_process_that_fails_says_why() -> None:
    with pytest.raises(NotAnswered, match=r"(?s)ended with 1: .*ZeroDivisionError"):
        await ask(Question([Span(0.0, 1000, 1.0), Span(2000.0, 0, 0.0)], Pool(slots=0), SAFE, None, None))


async def test_who_is_cancelled_leaves_no_process() -> None:
    record = [Span(10.0 * number, 300, 900.0) for number in range(720)]
    task = asyncio.create_task(ask(Question(record, POOL, SAFE, None, None)))
    child = None
    while child is None:
        await asyncio.sleep(0.01)
        child = _child()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert _child() is None


def _child() -> int | None:
    """Return a process of `ark_sizing` that this one has started."""
    return next((one.pid for one in psutil.Process().children() if "ark_sizing" in one.cmdline()), None)
