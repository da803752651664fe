"""What an observer may say of a queue when readings and news of tasks overlap, and Redis then fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from structlog.testing import capture_logs

from ark_scaler.errors import NothingKnown
from ark_scaler.metrics import ScalerMetrics
from ark_scaler.observer import QueueObserver
from ark_taskqueue import Client, QueueKeys, connect
from hack.local.redis_server import RedisServer
from tests.scaler.keda import add_task


@dataclass
class Bench:
    """An observer whose clock stands still, and whose readings can be stopped."""

    observer: QueueObserver
    now: list[float]
    reading: asyncio.Task[None]

    async def stop_reading(self) -> None:
        """Leave every reading from now on without an answer, as a Redis that hangs does."""
        self.reading.cancel()
        await asyncio.wait([self.reading])


@pytest.fixture
async def bench(redis_server: RedisServer, client: Client) -> AsyncIterator[Bench]:
    now = [100.0]
    watching = connect(redis_server.url)
    observer = QueueObserver(
        "default", client, watching, ScalerMetrics(), timeout=0.3, hold_seconds=60, clock=lambda: now[0]
    )
    reading = asyncio.create_task(observer._reader.run())
    bench = Bench(observer, now, reading)
    yield bench
    await bench.stop_reading()
    await watching.aclose()


async def test_the_last_good_reading_is_held_until_it_is_too_old(
    bench: Bench, client: Client, queue: QueueKeys
) -> None:
    await add_task(client)
    assert (await bench.observer.depth(queue)).demand == 1
    await bench.stop_reading()
    bench.now[0] += 60
    assert (await bench.observer.depth(queue)).demand == 1
    bench.now[0] += 1
    with pytest.raises(NothingKnown, match="the last good value is 61 s old"):
        await bench.observer.depth(queue)


async def test_once_a_task_came_the_emptiness_before_it_is_never_answered_again(bench: Bench, queue: QueueKeys) -> None:
    """A page that was read before the task, and is taken in after it, brought the 0 back, and an outage held it."""
    empty = await bench.observer.depth(queue)
    assert empty.demand == 0
    bench.now[0] += 2
    bench.observer.woken([queue])
    bench.observer._observe(bench.observer._known(queue), empty, asked_at=bench.now[0] - 1)
    await bench.stop_reading()
    with pytest.raises(NothingKnown, match="there is no good value"):
        await bench.observer.depth(queue)


async def test_of_two_readings_the_one_asked_for_later_counts(bench: Bench, client: Client, queue: QueueKeys) -> None:
    empty = await bench.observer.depth(queue)
    bench.now[0] += 2
    await add_task(client)
    assert (await bench.observer.depth(queue)).demand == 1
    bench.observer._observe(bench.observer._known(queue), empty, asked_at=bench.now[0] - 1)
    await bench.stop_reading()
    assert (await bench.observer.depth(queue)).demand == 1


async def test_a_queue_that_cannot_be_read_is_said_once_and_again_when_it_can(
    bench: Bench, client: Client, queue: QueueKeys
) -> None:
    """It is read every few seconds for its stream; a line each time would bury the log."""
    await client.set(queue.stream, "no stream")
    bench.observer.subscribe(queue, 0)
    with capture_logs() as said:
        for _ in range(3):
            await bench.observer.refresh()
        await client.delete(queue.stream)
        for _ in range(2):
            await bench.observer.refresh()
            bench.now[0] += 11  # old enough to be read by the next scrape
    [broken, mended] = said
    assert (broken["event"], broken["log_level"]) == ("cannot read a queue", "warning")
    assert (broken["redis"], broken["queue"]) == ("default", queue.name)
    assert "is not a stream" in broken["error"]
    assert (mended["event"], mended["queue"]) == ("queue can be read again", queue.name)
