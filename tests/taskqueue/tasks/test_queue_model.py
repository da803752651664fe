"""The queue against a model of it: random histories with workers that die at any point, on real servers.

Checked after every step: the depth is what the model says. Checked on the way: tasks come in order, a stale delivery
can do nothing, nothing is completed twice. Checked at the end: every task was completed or is a dead letter, and no
key stays behind but results and idempotency keys with a time to live, the statistics, and the dead letters.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from ark_taskqueue import (
    PRIORITIES,
    Consumer,
    Counting,
    DeadLetters,
    Leases,
    Outcome,
    Priority,
    Producer,
    QueueKeys,
    RetryPolicy,
    Task,
    connect,
    read_demand,
    read_depth,
)
from ark_taskqueue.priority import entry_of, priority_of
from ark_taskqueue.tasks.task import id_order
from hack.local.redis_server import RedisServer
from tests.taskqueue.moving_time import end_backoff, end_lease

WORKERS = ("a", "b", "c")
MAX_FAILURES = 3
LEASE = 60.0

_T = TypeVar("_T")


@dataclass
class Entry:
    """A task in the model."""

    state: str = "undelivered"
    """undelivered, in flight, ready, backoff, refused, suspect, completed, dead, requeued, cancelled"""
    worker: str = ""
    delivery: int = 0
    alone: int = 0
    """Delivery with which it was last taken alone, as a suspect."""
    refused_as: int = 0
    """Number of its first refusal."""


class QueueMachine(RuleBasedStateMachine):
    """Plays random operations against the queue and the model."""

    server: RedisServer

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.server.command("FLUSHALL")
        self.client = connect(self.server.url)
        self.queue = QueueKeys.for_agent("default", "model")
        self.producer = Producer(self.client, self.queue)
        self.workers = {
            name: Consumer(
                self.client,
                self.queue,
                name,
                leases=Leases(LEASE),
                retries=RetryPolicy(MAX_FAILURES, first_backoff=3600, longest_backoff=3600),
            )
            for name in WORKERS
        }
        self.entries: dict[str, Entry] = {}
        self.deliveries: list[tuple[str, Task]] = []
        """Every delivery ever made, with its worker: stale ones are tried again."""
        self.refusals = 0
        self.proved = 0
        """Refusals that there had been when the last of the completed tasks was begun."""

    def play(self, operation: Coroutine[Any, Any, _T]) -> _T:
        return self.runner.run(operation)

    def holds(self, worker: str, task: Task) -> bool:
        entry = self.entries[task.id]
        return (entry.state, entry.worker, entry.delivery) == ("in flight", worker, task.delivery)

    def ids(self, state: str, priority: Priority | None = None) -> list[str]:
        found = (i for i, entry in self.entries.items() if entry.state == state)
        return sorted((i for i in found if priority in (None, priority_of(i))), key=_order)

    @rule(keyed=st.booleans(), priority=st.sampled_from(PRIORITIES))
    def submit(self, keyed: bool, priority: Priority) -> None:
        key = f"key-{len(self.entries)}" if keyed else None
        submission = self.play(self.producer.submit("x", idempotency_key=key, priority=priority))
        assert submission.is_new
        if key:
            assert self.play(self.producer.submit("x", idempotency_key=key)).task_id == submission.task_id
        self.entries[submission.task_id] = Entry()

    @rule()
    def submit_without_the_library(self) -> None:
        entry_id = self.play(self.client.execute_command("XADD", self.queue.stream, "*", "prompt", "x"))
        self.entries[entry_id.decode()] = Entry()

    @rule(
        worker=st.sampled_from(WORKERS),
        count=st.integers(1, 4),
        order=st.permutations(PRIORITIES),
        answer_is_lost=st.booleans(),
    )
    def claim(self, worker: str, count: int, order: list[Priority], answer_is_lost: bool) -> None:
        idle = not any(self.entries[i].worker == worker for i in self.ids("in flight"))
        suspects = [i for priority in order for i in self.ids("suspect", priority)][:1] if idle else []
        waiting = [i for priority in order for state in ("ready", "undelivered") for i in self.ids(state, priority)]
        refused = [i for priority in order for i in self.ids("refused", priority)]
        expected = suspects or (waiting + refused)[:count]
        tasks = self.play(self.workers[worker].claim(count, order=order))
        assert [task.id for task in tasks] == expected, "not in order"
        assert [task.alone for task in tasks] == [bool(suspects)] * len(tasks)
        for task in tasks:
            entry = self.entries[task.id]
            entry.delivery += 1
            entry.state, entry.worker = "in flight", worker
            entry.alone = entry.delivery if task.alone else 0
            assert (task.delivery, task.attempt) == (entry.delivery, entry.delivery)
            if not answer_is_lost:
                self.deliveries.append((worker, task))

    @precondition(lambda self: self.deliveries)
    @rule(data=st.data())
    def complete(self, data: st.DataObject) -> None:
        worker, task = data.draw(st.sampled_from(self.deliveries))
        held = self.holds(worker, task)
        completed_before = self.entries[task.id].state == "completed" and (worker, task.delivery) == (
            self.entries[task.id].worker,
            self.entries[task.id].delivery,
        )
        done = self.play(self.workers[worker].complete(task, Outcome("y"), 0.0))
        assert done == (held or completed_before)
        if held:
            self.entries[task.id].state = "completed"
            self.proved = self.refusals

    @precondition(lambda self: self.deliveries)
    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        worker, task = data.draw(st.sampled_from(self.deliveries))
        held = self.holds(worker, task)
        ended = self.play(self.workers[worker].fail(task, "boom")).outcome
        assert ended == ("lost" if not held else "dead" if task.delivery >= MAX_FAILURES else "retry")
        if held:
            self.entries[task.id].state = "dead" if ended == "dead" else "backoff"

    @precondition(lambda self: self.deliveries)
    @rule(data=st.data(), counts=st.sampled_from(("never", "noted", "proved", "always")))
    def refuse(self, data: st.DataObject, counts: Counting) -> None:
        worker, task = data.draw(st.sampled_from(self.deliveries))
        held, entry = self.holds(worker, task), self.entries[task.id]
        if held and not entry.refused_as and counts != "never":
            self.refusals += 1
            entry.refused_as = self.refusals
        failed = counts == "always" or (counts == "proved" and self.proved >= entry.refused_as > 0)
        dead = task.delivery >= MAX_FAILURES
        expected = "lost" if not held else "refused" if not failed else "dead" if dead else "retry"
        assert self.play(self.workers[worker].refuse(task, "no", counts)).outcome == expected
        if held:
            waits = "backoff" if counts == "always" else "refused"
            entry.state = waits if expected == "retry" else expected
            entry.delivery -= expected == "refused"
        self.play(asyncio.sleep(0.002))  # the server's clock tells a refusal from what is begun after it

    @precondition(lambda self: self.deliveries)
    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        worker, task = data.draw(st.sampled_from(self.deliveries))
        held = self.holds(worker, task)
        assert self.play(self.workers[worker].give_back([task])) == (set() if held else {task.id})
        if held:
            self.entries[task.id].state = "ready"
            self.entries[task.id].delivery -= 1

    @precondition(lambda self: self.entries)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        task_id = data.draw(st.sampled_from(sorted(self.entries)))
        entry = self.entries[task_id]
        is_finished = entry.state in ("completed", "dead", "requeued")
        was = (
            "finished"
            if is_finished
            else {"in flight": "running", "cancelled": "cancelled"}.get(entry.state, "waiting")
        )
        assert self.play(self.producer.cancel(task_id)) == was
        if not is_finished:
            entry.state = "cancelled"

    @rule(worker=st.sampled_from(WORKERS))
    def renew(self, worker: str) -> None:
        tasks = [task for owner, task in self.deliveries if owner == worker]
        lost = self.play(self.workers[worker].renew(tasks))
        # A task that was delivered twice is lost for the first delivery and held for the second.
        assert [task for task in tasks if not self.holds(worker, task)] == lost

    @rule(worker=st.sampled_from(WORKERS))
    def die(self, worker: str) -> None:
        """The worker is silent for a lease, and another one reclaims."""
        held = [i for i in self.ids("in flight") if self.entries[i].worker == worker]
        others = [i for i in held if self.entries[i].alone != self.entries[i].delivery]
        for task_id in held:
            self.play(end_lease(self.client, self.queue, task_id, LEASE))
            entry = self.entries[task_id]
            to_blame = task_id not in others or len(others) == 1
            entry.state = "dead" if to_blame and entry.delivery >= MAX_FAILURES else "suspect"
            entry.delivery -= not to_blame  # which of several it was nobody knows
        self.play(self.workers["a"].reclaim(interval_seconds=0))

    @rule(worker=st.sampled_from(WORKERS))
    def retire(self, worker: str) -> None:
        held = [i for i in self.ids("in flight") if self.entries[i].worker == worker]
        assert self.play(self.workers[worker].retire()) == len(held)
        for task_id in held:
            self.entries[task_id].state = "ready"
            self.entries[task_id].delivery -= 1

    @precondition(lambda self: self.ids("backoff"))
    @rule(data=st.data())
    def end_of_a_backoff(self, data: st.DataObject) -> None:
        task_id = data.draw(st.sampled_from(self.ids("backoff")))
        self.play(end_backoff(self.client, self.queue, task_id))
        self.play(self.workers["b"].reclaim(interval_seconds=0))
        self.entries[task_id].state = "ready"

    @precondition(lambda self: self.ids("dead"))
    @rule()
    def requeue_a_dead_letter(self) -> None:
        [letter] = self.play(DeadLetters(self.client, self.queue).list(count=1))
        [new_id] = self.play(DeadLetters(self.client, self.queue).requeue([letter.id])).values()
        assert priority_of(new_id) == priority_of(letter.task_id), "requeued with another priority"
        self.entries[letter.task_id].state = "requeued"
        self.entries[new_id] = Entry()

    @invariant()
    def depth_is_the_models(self) -> None:
        depth = self.play(read_depth(self.client, self.queue))
        waiting = sum(len(self.ids(state)) for state in ("undelivered", "ready", "backoff", "refused", "suspect"))
        assert (depth.waiting, depth.in_flight) == (waiting, len(self.ids("in flight")))
        assert depth.length == depth.demand, "something is left in the stream"

    def teardown(self) -> None:
        try:
            self.drain()
            self.check_what_stays_behind()
        finally:
            self.play(self.client.aclose())
            self.runner.close()

    def drain(self) -> None:
        for worker in WORKERS:
            self.die(worker)
        for task_id in self.ids("backoff"):
            self.play(end_backoff(self.client, self.queue, task_id))
            self.entries[task_id].state = "ready"
        self.play(self.workers["c"].reclaim(interval_seconds=0))
        while tasks := self.play(self.workers["c"].claim(10_000)):
            for task in tasks:
                assert self.play(self.workers["c"].complete(task, Outcome("y"), 0.1))
                self.entries[task.id].state = "completed"
        assert {entry.state for entry in self.entries.values()} <= {"completed", "dead", "requeued", "cancelled"}, (
            "a task is lost"
        )

    def check_what_stays_behind(self) -> None:
        completed = self.play(self.client.execute_command("HGET", self.queue.stats, "completed"))
        assert int(completed or 0) == len(self.ids("completed")), "completed twice, or not at all"
        assert self.play(DeadLetters(self.client, self.queue).count()) == len(self.ids("dead"))
        for task_id in self.ids("completed") + self.ids("cancelled"):
            result = self.play(self.producer.result(task_id))
            assert result is not None
            assert result.status == self.entries[task_id].state
        self.play(self.workers["c"].reclaim(interval_seconds=0))
        record = self.play(read_demand(self.client, self.queue))
        assert sum(span.arrivals for span in record) == len(self.entries), "the record has other arrivals"
        lasting = {*self.queue.streams, self.queue.stats, self.queue.dead}
        for key in self.play(self.client.execute_command("KEYS", "*")):
            time_to_live = self.play(self.client.execute_command("PTTL", key))
            assert key.decode() in lasting or time_to_live > 0, f"{key!r} stays for ever"


def _order(task_id: str) -> tuple[int, tuple[int, int]]:
    return PRIORITIES.index(priority_of(task_id)), id_order(entry_of(task_id))


def test_no_history_loses_a_task_or_completes_one_twice(each_redis: RedisServer) -> None:
    machine = type("QueueMachineOnServer", (QueueMachine,), {"server": each_redis})
    run_state_machine_as_test(machine, settings=settings(max_examples=40, stateful_step_count=40, deadline=None))
