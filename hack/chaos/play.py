"""Keeps the load running, plays one fault after the other, and counts what came of each."""

from __future__ import annotations

import asyncio
import math
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ark_operator.cluster.kinds import ARK_AGENTS
from ark_taskqueue import Budget, Depth, Producer, TaskQueueError, TokenLedger, read_depths
from ark_taskqueue.tasks.task import decoded
from hack.chaos.faults import Fault
from hack.chaos.load import TASKS_PER_SECOND, Load, meta
from hack.chaos.stack import CAP, MAIN, NAMESPACE, PER_CALL, Stack, agent, make_agents, queue
from hack.chaos.worker import NOTES, TRUTH
from hack.cluster.api import DEPLOYMENTS, ApiError, ApiUnavailable

_CALM = 2 * TASKS_PER_SECOND
"""Waiting tasks that are no backlog: two seconds' worth."""
_LONGEST_SECONDS = 120.0
"""After a fault's end; what does not work again by then is reported as endless."""
_SETTLE_SECONDS = 5.0
_PINNED = "pinned"
_CAPPED_TASKS = 3 * CAP // PER_CALL
_DRAIN_SECONDS = 90.0


@dataclass(slots=True)
class Outcome:
    """What came of one fault."""

    fault: str
    lost: int = 0
    """Tasks that were accepted and have no result."""
    again: int = 0
    """Attempts beyond the first."""
    spent: int = 0
    """Tokens that a pool with a cap of `CAP` has spent, with three times as many asked for."""
    over: int = 0
    """Tokens of them beyond the cap."""
    zeros: int = 0
    """Times that the pool was asked to be at zero, though tasks came all the time."""
    backlog_seconds: float = 0.0
    """From the fault's end until the backlog was worked off."""
    wake_seconds: float = 0.0
    """From the fault's end until the first task of a pool at zero was done, the start of its Pod included."""
    pin_seconds: float = 0.0
    """From the fault's end until a number that a person set was the Deployment's."""

    @property
    def recovery_seconds(self) -> float:
        """Until all of it worked again."""
        return max(self.backlog_seconds, self.wake_seconds, self.pin_seconds)

    def raw(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        found = {**asdict(self), "recovery_seconds": self.recovery_seconds}
        return {name: "never" if value == math.inf else value for name, value in found.items()}


class Play:
    """One run over all faults."""

    def __init__(self, stack: Stack, faults: Sequence[Fault]) -> None:
        self._stack = stack
        self._faults = faults
        self._load = Load(Producer(stack.client, queue(MAIN)))
        self._zeros = 0
        self.outcomes: list[Outcome] = []

    async def run(self) -> None:
        """Play them all."""
        stack = self._stack
        redis = f"redis://127.0.0.1:{stack.links['workers-redis'].port}/0"
        autoscaling = {"maxReplicas": 4, "tasksPerReplica": 3}
        agents = [agent(name, stack.notes_url, redis, autoscaling=autoscaling) for name in (MAIN, _PINNED)]
        capped = {"maxConcurrentTasks": 5, "timeoutSeconds": 30, "maxRetries": 10, "maxTokensPerCall": PER_CALL}
        for number in range(len(self._faults)):
            sleeping = {"maxReplicas": 4, "cooldownSeconds": 5}
            agents.append(agent(f"sleeper-{number}", stack.notes_url, redis, autoscaling=sleeping))
            limits = {**capped, "maxDailyTokens": CAP}
            agents.append(agent(f"capped-{number}", stack.notes_url, redis, autoscaling=sleeping, limits=limits))
        print(f"{len(agents)} agents", file=sys.stderr, flush=True)
        await make_agents(stack, agents)
        async with asyncio.TaskGroup() as group:
            running = [group.create_task(work) for work in (self._load.run(), self._watch(), stack.keep())]
            await self._calm(_LONGEST_SECONDS)
            await asyncio.sleep(_SETTLE_SECONDS)
            for number, fault in enumerate(self._faults):
                outcome = await self._one(number, fault)
                self.outcomes.append(outcome)
                print(f"  {outcome}", file=sys.stderr, flush=True)
                await asyncio.sleep(_SETTLE_SECONDS)
            for task in running:
                task.cancel()

    async def _one(self, number: int, fault: Fault) -> Outcome:
        stack, outcome = self._stack, Outcome(fault.name)
        print(fault.name, file=sys.stderr, flush=True)
        known, zeros = set(self._load.accepted), self._zeros
        capped = Producer(stack.client, queue(f"capped-{number}"))
        for _ in range(_CAPPED_TASKS):
            await capped.submit("x", meta={"latency_seconds": 0.2, "input_tokens": 40, "output_tokens": 40})
        await asyncio.sleep(1.5)  # the pool is up, and spends
        async with fault.broken(stack):
            pass
        ended = time.monotonic()
        async with asyncio.TaskGroup() as group:
            backlog = group.create_task(self._timed(ended, self._worked_off(ended)))
            wake = group.create_task(self._timed(ended, self._woken(f"sleeper-{number}")))
            pin = group.create_task(self._timed(ended, self._pin(1 + number % 2)))
        outcome.backlog_seconds, outcome.wake_seconds = backlog.result(), wake.result()
        outcome.pin_seconds = pin.result()
        outcome.zeros = self._zeros - zeros
        mine = self._load.accepted.keys() - known
        outcome.lost = await self._without_result(mine)
        outcome.again = await self._again(mine)
        outcome.spent = await self._spent(f"capped-{number}")
        outcome.over = max(0, outcome.spent - CAP)
        return outcome

    async def _timed(self, since: float, work: Awaitable[None]) -> float:
        """Return how long after a moment something was done; endless where it never was."""
        try:
            async with asyncio.timeout(_LONGEST_SECONDS):
                await work
        except TimeoutError:
            return math.inf
        return round(time.monotonic() - since, 2)

    async def _calm(self, seconds: float) -> None:
        async with asyncio.timeout(seconds):
            while not await self._is_calm():  # noqa: ASYNC110 - Redis is asked
                await asyncio.sleep(0.2)

    async def _is_calm(self) -> bool:
        depth = await self._depth(MAIN)
        return depth is not None and depth.in_flight > 0 and depth.waiting <= _CALM

    async def _worked_off(self, since: float) -> None:
        """Wait until no backlog is left, and a task that was accepted afterwards is done."""
        while True:
            later = next((task for task, at in reversed(self._load.accepted.items()) if at > since), None)
            if later is not None and await self._is_calm():
                first = next(task for task, at in self._load.accepted.items() if at > since)
                if await self._done(MAIN, first):
                    return
            await asyncio.sleep(0.1)

    async def _woken(self, name: str) -> None:
        producer = Producer(self._stack.client, queue(name))
        while True:
            try:
                submission = await producer.submit("x", meta=meta(0.1), idempotency_key="wake")
                break
            except TaskQueueError:
                await asyncio.sleep(0.1)
        while not await self._done(name, submission.task_id):  # noqa: ASYNC110 - Redis is asked
            await asyncio.sleep(0.1)

    async def _pin(self, replicas: int) -> None:
        """Set another number than the one before, as kubectl scale does, and wait until the Deployment has it."""
        api = self._stack.api
        while True:
            try:
                await api.patch(ARK_AGENTS.path(NAMESPACE, _PINNED), {"spec": {"replicas": replicas}})
                found = await api.get(DEPLOYMENTS.path(NAMESPACE, f"{_PINNED}-agent"))
                if found["spec"]["replicas"] == replicas:
                    return
            except (ApiError, ApiUnavailable):
                pass  # the API server is what is away; asked again
            await asyncio.sleep(0.1)

    async def _done(self, name: str, task: str) -> bool:
        try:
            return await Producer(self._stack.client, queue(name)).result(task) is not None
        except TaskQueueError:
            return False

    async def _depth(self, name: str) -> Depth | None:
        try:
            [depth] = await read_depths(self._stack.client, [queue(name)])
        except TaskQueueError:
            return None
        return depth if isinstance(depth, Depth) else None

    async def _without_result(self, tasks: set[str]) -> int:
        """Count the tasks that have no result after a while."""
        left = set(tasks)
        deadline = time.monotonic() + _DRAIN_SECONDS
        while left and time.monotonic() < deadline:
            for task in list(left):
                if await self._done(MAIN, task):
                    left.discard(task)
            await asyncio.sleep(0.2)
        return len(left)

    async def _again(self, tasks: set[str]) -> int:
        counted: Counter[str] = Counter()
        for _, stored in await self._stack.notes.execute_command("XRANGE", NOTES, "-", "+"):
            note = decoded(stored)
            if note["queue"] == f"{NAMESPACE}/{MAIN}":
                counted[note["task"]] += 1
        return sum(counted[task] - 1 for task in tasks if counted[task] > 1)

    async def _spent(self, name: str) -> int:
        """Return what a pool's calls have cost: by its ledger or by the workers' own notes, whatever is more."""
        noted = int(await self._stack.notes.execute_command("GET", f"{TRUTH}{NAMESPACE}/{name}") or 0)
        usage = await TokenLedger(self._stack.client, queue(name)).usage(Budget(CAP, PER_CALL))
        return max(noted, usage.total)

    async def _watch(self) -> None:
        """Count how often the main pool is asked to be at zero, until cancelled."""
        last = -1
        async for event in self._stack.api.watch(DEPLOYMENTS.path(NAMESPACE)):
            if event.object["metadata"]["name"] != f"{MAIN}-agent":
                continue
            replicas = event.object["spec"]["replicas"]
            self._zeros += replicas == 0 and last > 0
            last = replicas
