"""The workqueue: what is worked on when, and that nothing is lost or worked on twice at once."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ark_kube.rate_limit import RateLimit
from ark_kube.workqueue import WorkQueue
from ark_process.backoff import Backoff

KEYS = st.sampled_from("abcd")


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def taken(queue: WorkQueue[str]) -> str | None:
    """Return the key that a worker would get now, None where it would wait."""
    queue._add_due()
    return queue._take() if len(queue) else None


def test_many_changes_are_one_piece_of_work_in_the_order_of_the_first() -> None:
    queue: WorkQueue[str] = WorkQueue()
    for key in "abaacb":
        queue.add(key)
    assert [taken(queue) for _ in range(4)] == ["a", "b", "c", None]


def test_a_key_that_is_worked_on_is_taken_again_only_when_that_is_done() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add("a")
    assert taken(queue) == "a"
    queue.add("a")
    assert taken(queue) is None
    queue.done("a")
    assert taken(queue) == "a"
    queue.done("a")
    assert taken(queue) is None


def test_of_several_moments_the_earliest_counts_and_now_is_earlier_than_all() -> None:
    clock = Clock()
    queue: WorkQueue[str] = WorkQueue(clock=clock)
    queue.add_after("a", 20)
    queue.add_after("a", 10)
    queue.add_after("a", 30)
    queue.add_after("b", 15)
    clock.now = 10
    assert taken(queue) == "a"
    queue.done("a")
    clock.now = 14
    queue.add("b")
    assert taken(queue) == "b"
    queue.done("b")
    clock.now = 100
    assert taken(queue) is None, "later moments are gone with the earlier one"


def test_moments_that_were_overtaken_do_not_pile_up() -> None:
    queue: WorkQueue[str] = WorkQueue(clock=Clock())
    queue.add_after("idle", 1)
    for _ in range(10_000):
        queue.add_after("busy", 3600)
        queue.add("busy")
        assert taken(queue) == "busy"
        queue.done("busy")
    assert len(queue._heap) < 100


def test_what_fails_all_the_time_does_not_push_other_retries_out_of_sight() -> None:
    clock = Clock()
    backoff = Backoff(1, 10)
    queue: WorkQueue[str] = WorkQueue(backoff=backoff, retries=RateLimit(1, 1, clock), clock=clock)
    for _ in range(1000):
        queue.add_failed("bad")
    assert queue.add_failed("good") <= 10


def test_a_backoff_doubles_up_to_its_longest_and_starts_anew_after_a_success() -> None:
    queue: WorkQueue[str] = WorkQueue(backoff=Backoff(1, 10), clock=Clock())
    assert [queue.add_failed("a") for _ in range(3)] == [1, 2, 4]
    assert queue.failures("a") == 3
    queue.forget("a")
    assert queue.add_failed("a") == 1


def test_retries_of_all_keys_together_are_bounded() -> None:
    clock = Clock()
    queue: WorkQueue[int] = WorkQueue(backoff=Backoff(0.001, 300), retries=RateLimit(1, 2, clock), clock=clock)
    assert [round(queue.add_failed(key), 3) for key in range(4)] == [0.001, 0.001, 1.0, 2.0]


def test_metrics_have_the_meaning_of_controller_runtimes() -> None:
    clock, told = Clock(), Counter[str]()
    seen: list[tuple[str, float]] = []

    class Metrics:
        def depth(self, keys: int) -> None:
            seen.append(("depth", keys))

        def waited(self, seconds: float) -> None:
            seen.append(("waited", seconds))

        def worked(self, seconds: float) -> None:
            seen.append(("worked", seconds))

        def retried(self) -> None:
            told["retried"] += 1

    queue: WorkQueue[str] = WorkQueue(metrics=Metrics(), clock=clock)
    queue.add("a")
    clock.now = 2
    taken(queue)
    clock.now = 5
    queue.done("a")
    queue.add_failed("a")
    assert seen == [("depth", 1), ("waited", 2), ("depth", 0), ("worked", 3)]
    assert told["retried"] == 1


async def test_a_worker_that_waits_gets_a_key_at_once_and_a_later_one_in_time() -> None:
    queue: WorkQueue[str] = WorkQueue()
    async with asyncio.timeout(30):
        waiting = asyncio.create_task(queue.get())
        await asyncio.sleep(0)
        queue.add("a")
        assert await waiting == "a"
        queue.add_after("b", 0.05)
        queue.add_after("c", 0.01)
        assert [await queue.get(), await queue.get()] == ["c", "b"]


async def test_a_worker_that_is_cancelled_while_it_waits_loses_nothing() -> None:
    queue: WorkQueue[str] = WorkQueue()
    for _ in range(50):
        waiting = asyncio.create_task(queue.get())
        await asyncio.sleep(0)
        queue.add("a")
        waiting.cancel()
        [ended] = await asyncio.gather(waiting, return_exceptions=True)
        if isinstance(ended, asyncio.CancelledError):
            ended = await asyncio.wait_for(queue.get(), 30)
        assert ended == "a"
        queue.done("a")


async def test_with_many_workers_no_key_is_worked_on_twice_at_once_and_none_is_missed() -> None:
    chance = random.Random(7)
    queue: WorkQueue[int] = WorkQueue(backoff=Backoff(0.0001, 300))
    wanted, seen = Counter[int](), Counter[int]()
    busy: set[int] = set()
    last_seen: dict[int, int] = {}

    async def work() -> None:
        while True:
            key = await queue.get()
            assert key not in busy
            busy.add(key)
            version = wanted[key]
            await asyncio.sleep(chance.random() * 0.002)
            busy.remove(key)
            seen[key] += 1
            if chance.random() < 0.2:
                queue.add_failed(key)
            else:
                queue.forget(key)
                last_seen[key] = version
            queue.done(key)

    workers = [asyncio.create_task(work()) for _ in range(8)]
    for _ in range(2000):
        key = chance.randrange(20)
        wanted[key] += 1
        queue.add(key)
        if chance.random() < 0.1:
            await asyncio.sleep(0.001)
    async with asyncio.timeout(30):
        while last_seen != wanted:
            assert not any(worker.done() for worker in workers)
            await asyncio.sleep(0.005)
    for worker in workers:
        worker.cancel()
    await asyncio.gather(*workers, return_exceptions=True)
    assert sum(seen.values()) < sum(wanted.values()), "many changes were one piece of work"


class Model(RuleBasedStateMachine):
    """Random calls against sets and moments kept by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.queue: WorkQueue[str] = WorkQueue(clock=self.clock)
        self.dirty: set[str] = set()
        self.processing: set[str] = set()
        self.later: dict[str, float] = {}

    @rule(key=KEYS)
    def add(self, key: str) -> None:
        self.queue.add(key)
        self.dirty.add(key)
        self.later.pop(key, None)

    @rule(key=KEYS, seconds=st.integers(0, 20))
    def add_after(self, key: str, seconds: int) -> None:
        self.queue.add_after(key, seconds)
        if seconds == 0:
            self.dirty.add(key)
            self.later.pop(key, None)
        elif key not in self.dirty:
            due = self.clock.now + seconds
            self.later[key] = min(due, self.later.get(key, due))

    @rule(seconds=st.integers(1, 15))
    def time_passes(self, seconds: int) -> None:
        self.clock.now += seconds

    @rule()
    def take(self) -> None:
        due = {key for key, moment in self.later.items() if moment <= self.clock.now}
        self.dirty |= due
        self.later = {key: moment for key, moment in self.later.items() if key not in due}
        key = taken(self.queue)
        ready = self.dirty - self.processing
        if key is None:
            assert not ready
            return
        assert key in ready
        self.dirty.remove(key)
        self.processing.add(key)

    @precondition(lambda self: self.processing)
    @rule(data=st.data())
    def done(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.processing)))
        self.queue.done(key)
        self.processing.remove(key)

    @invariant()
    def nothing_is_lost(self) -> None:
        assert set(self.queue._dirty) == self.dirty
        assert {key: due for key, (due, _) in self.queue._later.items()} == pytest.approx(self.later)


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=150, stateful_step_count=40)
