"""A pool under a list of tasks, Pod by Pod, in a fraction of a second.

Tasks, starts of Pods and their ends happen when they happen; what looks at the queue does so when the real one does:
KEDA's poll, the HPA's sync every 15 s, the operator each second. Wake-ups by push take no time. A Pod starts as long as
the pool says, takes the task that has waited longest, and finishes what it has when it is taken away. It is for
comparing settings; `make bench NAME=trace` holds it against a cluster.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from ark_sizing import hpa
from ark_sizing.setting import RecentDemand, Setting

_LONG_GAP_SECONDS = 3600.0
"""A multiple of the HPA's period, and longer than any window: a pool without tasks for so long knows of none."""
_DOWN = (hpa.Policy("Percent", 100),)


class Task(NamedTuple):
    """One task."""

    at: float
    """When it is added, seconds."""
    seconds: float
    """How long it works, without its wait."""


@dataclass(frozen=True, slots=True)
class Pool:
    """What is the same whatever scales the pool; times in seconds."""

    slots: int = 5
    """Tasks that one replica works on at a time."""
    start_seconds: float = 2.0
    """From the request for a replica until it takes tasks."""
    min_replicas: int = 0
    max_replicas: int = 20
    cooldown_seconds: float = 300.0
    """Without a task, until the last replica goes."""
    first_sync: float = 7.5
    """When the HPA looks for the first time. Chance decides that; see `averaged`."""

    def smaller(self, times: int) -> Pool:
        """Return a pool so many times smaller."""
        least, most = math.ceil(self.min_replicas / times), math.ceil(self.max_replicas / times)
        return replace(self, min_replicas=least, max_replicas=most)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it."""

    waits: Sequence[float]
    """Each task's from being added to being taken, in rising order, seconds."""
    replica_seconds: float
    """Of `spec.replicas`."""
    terminating_seconds: float
    """Of Pods that are not in it any more and finish their tasks."""

    def wait(self, share: float) -> float:
        """Return a percentile of the waits (nearest rank)."""
        return self.waits[math.ceil(len(self.waits) * share / 100) - 1]

    @property
    def pod_seconds(self) -> float:
        """What is paid for."""
        return self.replica_seconds + self.terminating_seconds


def simulate(tasks: Sequence[Task], setting: Setting, pool: Pool, counted_seconds: float = math.inf) -> Outcome:
    """Play tasks, in the order in which they are added, until all are done and the pool is as small as it may be.

    Args:
        tasks: what there is to do.
        setting: what scales the pool.
        pool: what does not depend on it.
        counted_seconds: how long replicas are counted; what a pool does after that matters to nobody.
    """
    run = _Run(tasks, setting, pool)
    now = 0.0
    while True:
        now = run.after_a_long_gap(now)
        run.until(now)
        counted = now < counted_seconds
        if not (run.demand or run.coming or (counted and run.replicas > pool.min_replicas)):
            break
        run.look(now)
        if counted:
            run.replica_seconds += run.replicas
        now += 1.0
    return Outcome(sorted(run.waits), run.replica_seconds, run.terminating_seconds)


def averaged(
    plays: Sequence[Sequence[Task]], setting: Setting, pool: Pool, counted_seconds: float = math.inf
) -> Outcome:
    """Return what comes of several lists of tasks on average, each with the HPA's first look at a moment of its own.

    That moment alone changes the cost of half an hour by up to a quarter.
    """
    moments = [(number + 0.5) * hpa.SYNC_SECONDS / len(plays) for number in range(len(plays))]
    outcomes = [
        simulate(tasks, setting, replace(pool, first_sync=moment), counted_seconds)
        for tasks, moment in zip(plays, moments, strict=True)
    ]
    return Outcome(
        sorted(itertools.chain.from_iterable(outcome.waits for outcome in outcomes)),
        sum(outcome.replica_seconds for outcome in outcomes) / len(plays),
        sum(outcome.terminating_seconds for outcome in outcomes) / len(plays),
    )


@dataclass(slots=True, eq=False)
class _Pod:
    busy: int = 0
    gone_at: float | None = None
    """When it was taken away."""


class _Run:
    """One simulation, under way."""

    def __init__(self, tasks: Sequence[Task], setting: Setting, pool: Pool) -> None:
        self.setting, self.pool = setting, pool
        self.waits: list[float] = []
        self.replica_seconds = self.terminating_seconds = 0.0
        self._tasks = tasks
        self._next = 0
        self._service = sum(task.seconds for task in tasks) / max(1, len(tasks))
        self._waiting: deque[Task] = deque()
        self._busy = 0
        self._ends: list[tuple[float, int, _Pod]] = []
        """Heap of when tasks end, and where; the number decides between two of the same moment."""
        self._numbers = itertools.count()
        self._starts: deque[tuple[float, _Pod]] = deque()
        self._pods: list[_Pod] = []
        """Those of `spec.replicas`, the youngest last: it goes first, as a ReplicaSet has it."""
        self._free: deque[_Pod] = deque()
        """One for each free slot; the one that has been free for longest takes the next task."""
        self._history = hpa.History()
        self._recent = None if setting.base is None else RecentDemand(setting.base)
        self._active_at = -math.inf
        self._next_poll, self._next_sync = 0.0, pool.first_sync
        self._rules = hpa.Behavior(hpa.UNTHROTTLED_UP, hpa.Rules(setting.patience_seconds, _DOWN))
        self._least = max(1, pool.min_replicas)
        """The HPA's; KEDA alone goes to zero."""
        self._scale(pool.min_replicas, -pool.start_seconds)

    @property
    def coming(self) -> bool:
        """Whether tasks are still to be added."""
        return self._next < len(self._tasks)

    @property
    def demand(self) -> int:
        """Tasks that wait or are worked on, by Pods that are to go too."""
        return len(self._waiting) + self._busy

    @property
    def replicas(self) -> int:
        """As `spec.replicas` says."""
        return len(self._pods)

    def until(self, now: float) -> None:
        """Let happen what happens up to a moment, one after the other."""
        tasks, ends, starts = self._tasks, self._ends, self._starts
        while True:
            added = tasks[self._next].at if self._next < len(tasks) else math.inf
            ended = ends[0][0] if ends else math.inf
            started = starts[0][0] if starts else math.inf
            if min(added, ended, started) > now:
                return
            if ended <= added and ended <= started:
                self._end(*heapq.heappop(ends))
            elif started <= added:
                self._start(*starts.popleft())
            else:
                self._add(tasks[self._next])

    def after_a_long_gap(self, now: float) -> float:
        """Return the moment to go on at: shortly before the next task where nothing will have changed until then."""
        if not self.coming or self.demand or self.replicas > self.pool.min_replicas:
            return now
        seconds = math.floor((self._tasks[self._next].at - now) / _LONG_GAP_SECONDS) * _LONG_GAP_SECONDS
        if seconds <= 0:
            return now
        self._recent = None if self.setting.base is None else RecentDemand(self.setting.base)
        self._next_poll += seconds
        self._next_sync += seconds
        self.replica_seconds += seconds * self.replicas
        return now + seconds

    def look(self, now: float) -> None:
        """Scale, as far as somebody looks in this second."""
        asked = self.setting.slots_of(self._busy, len(self._waiting), self._service)
        base = 0.0
        if self._recent is not None:
            self._recent.second(asked)
            base = self._recent.slots
        self._activate(asked > 0 or base > 0, now)
        if self._pods:
            metric = self.setting.slots_wanted(asked, base)
            target = self.setting.tasks_per_replica or self.pool.slots
            wanted = hpa.wanted(metric, target, len(self._pods))
            if self.setting.pushes:
                at_once = wanted
                if base > asked:  # the operator leaves what stays warm to the HPA
                    at_once = hpa.wanted(self.setting.slots_wanted(asked, 0.0), target, len(self._pods))
                self._scale(max(len(self._pods), min(at_once, self.pool.max_replicas)), now)
            if now >= self._next_sync:
                self._next_sync += hpa.SYNC_SECONDS
                wanted = max(self._least, wanted)
                decided = hpa.decide(
                    wanted, len(self._pods), self._least, self.pool.max_replicas, self._rules, self._history, now
                )
                self._scale(decided, now)
        elif now >= self._next_sync:
            self._next_sync += hpa.SYNC_SECONDS

    def _activate(self, active: bool, now: float) -> None:
        polls = now >= self._next_poll
        if polls:
            self._next_poll = now + self.setting.polling_seconds
        over = not self.pool.min_replicas and now - self._active_at >= self.pool.cooldown_seconds
        if active and (polls or self.setting.pushes):
            self._active_at = now
            self._scale(max(1, len(self._pods)), now)
        elif polls and over and self._pods:
            self._scale(0, now)
            self._history = hpa.History()

    def _scale(self, replicas: int, now: float) -> None:
        while len(self._pods) < replicas:
            pod = _Pod()
            self._pods.append(pod)
            self._starts.append((now + self.pool.start_seconds, pod))
        while len(self._pods) > replicas:
            pod = self._pods.pop()
            pod.gone_at = now

    def _add(self, task: Task) -> None:
        self._next += 1
        if not self._pods and self.setting.pushes:
            self._active_at = task.at
            self._scale(1, task.at)
        while self._free:
            pod = self._free.popleft()
            if pod.gone_at is None:
                self._give(task, pod, task.at)
                return
        self._waiting.append(task)

    def _start(self, now: float, pod: _Pod) -> None:
        if pod.gone_at is None:
            for _ in range(self.pool.slots):
                self._freed(pod, now)

    def _end(self, now: float, _: int, pod: _Pod) -> None:
        self._busy -= 1
        pod.busy -= 1
        if pod.gone_at is None:
            self._freed(pod, now)
        elif not pod.busy:
            self.terminating_seconds += now - pod.gone_at

    def _freed(self, pod: _Pod, now: float) -> None:
        if self._waiting:
            self._give(self._waiting.popleft(), pod, now)
        else:
            self._free.append(pod)

    def _give(self, task: Task, pod: _Pod, now: float) -> None:
        self.waits.append(now - task.at)
        pod.busy += 1
        self._busy += 1
        heapq.heappush(self._ends, (now + task.seconds, next(self._numbers), pod))
