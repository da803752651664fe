"""A pool under a trace, in a fraction of a second: what decided the defaults of ArkAgents (ADR 11). Pure.

Time goes in steps of a quarter of a second. The HPA is that of `hack.demo.hpa`; wake-ups, polls, bursts and Pods are
what the real ones do, with fixed times instead of chance. It is for comparing settings, not for forecasts.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from hack.demo import hpa
from hack.demo.trace import Arrival

_STEP_SECONDS = 0.25
_SLOTS = 5
_START_SECONDS = 2.0
_FIRST_SYNC = 7.5
"""Somewhere between two of the HPA's looks."""


@dataclass(frozen=True, slots=True)
class Setting:
    """How a pool is scaled; times in seconds."""

    tasks_per_replica: int = _SLOTS
    patience: float = 300.0
    """How long less must be wanted before the HPA lowers the pool."""
    pushed: bool = True
    """Whether the scaler wakes the pool at once, and the operator raises it each second."""
    polling: float = 37.0
    cooldown: float = 300.0
    max_replicas: int = 20


TUNED = Setting(pushed=False, polling=5.0)
"""KEDA's redis-streams with pending and waiting tasks added up, looked at every five seconds, and no limit upwards."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it."""

    waits: Sequence[float]
    """Each task's, in rising order, seconds."""
    replica_seconds: float

    def wait(self, share: int) -> float:
        """Return a percentile (nearest rank)."""
        return self.waits[math.ceil(len(self.waits) * share / 100) - 1]


@dataclass(slots=True)
class _Pods:
    """Pods and the tasks they have in hand."""

    ready_at: dict[int, float] = field(default_factory=dict)
    in_hand: dict[int, int] = field(default_factory=dict)
    """By Pod, those that end but still work too."""
    ends: list[tuple[float, int]] = field(default_factory=list)
    """Heap of when which Pod's tasks end."""
    numbers: itertools.count[int] = field(default_factory=itertools.count)

    def scale(self, replicas: int, now: float) -> None:
        """Add Pods, or take the youngest ones away, which finish what they have."""
        while len(self.ready_at) < replicas:
            number = next(self.numbers)
            self.ready_at[number], self.in_hand[number] = now + _START_SECONDS, 0
        while len(self.ready_at) > replicas:
            del self.ready_at[max(self.ready_at)]

    def finish(self, now: float) -> None:
        """Let tasks end."""
        while self.ends and self.ends[0][0] <= now:
            self.in_hand[heapq.heappop(self.ends)[1]] -= 1

    def take(self, waiting: deque[tuple[float, float]], now: float) -> list[float]:
        """Assign waiting tasks (when they came, how long they take) to free slots; return how long they waited."""
        waits = []
        for number, ready in self.ready_at.items():
            while waiting and ready <= now and self.in_hand[number] < _SLOTS:
                came, seconds = waiting.popleft()
                waits.append(now - came)
                self.in_hand[number] += 1
                heapq.heappush(self.ends, (now + seconds, number))
        return waits


@dataclass(slots=True)
class _Scaling:
    """What sets the pool's number."""

    setting: Setting
    history: hpa.History = field(default_factory=hpa.History)
    replicas: int = 0
    active_at: float = -math.inf
    next_sync: float = _FIRST_SYNC
    next_poll: float = 0.0

    def step(self, demand: int, now: float) -> None:
        """Look at the demand, as far as somebody looks now."""
        setting = self.setting
        if setting.pushed and demand:
            self.active_at = now
            self.replicas = max(self.replicas, 1)
        if now >= self.next_poll:
            self.next_poll = now + setting.polling
            if demand:
                self.active_at = now
                self.replicas = max(self.replicas, 1)
            elif now - self.active_at >= setting.cooldown:
                self.replicas, self.history = 0, hpa.History()
        if not self.replicas:
            return
        wanted = hpa.wanted(demand, setting.tasks_per_replica, self.replicas)
        if setting.pushed and now % 1.0 < _STEP_SECONDS:
            self.replicas = max(self.replicas, min(wanted, setting.max_replicas))
        if now >= self.next_sync:
            self.next_sync = now + hpa.SYNC_SECONDS
            behavior = hpa.Behavior(hpa.UNTHROTTLED_UP, hpa.Rules(setting.patience, (hpa.Policy("Percent", 100),)))
            self.replicas = hpa.decide(
                max(1, wanted), self.replicas, 1, setting.max_replicas, behavior, self.history, now
            )


def simulate(arrivals: Sequence[Arrival], setting: Setting) -> Outcome:
    """Play arrivals, until all tasks are done and the pool is at zero."""
    coming = deque((arrival.at, 2.0 + 0.1 * arrival.output_tokens) for arrival in arrivals)
    waiting: deque[tuple[float, float]] = deque()
    pods, scaling = _Pods(), _Scaling(setting)
    waits: list[float] = []
    replica_seconds = 0.0
    for step in itertools.count():
        now = step * _STEP_SECONDS
        while coming and coming[0][0] <= now:
            waiting.append(coming.popleft())
        pods.finish(now)
        waits += pods.take(waiting, now)
        scaling.step(len(waiting) + len(pods.ends), now)
        pods.scale(scaling.replicas, now)
        replica_seconds += scaling.replicas * _STEP_SECONDS
        if not (coming or waiting or pods.ends or scaling.replicas):
            break
    return Outcome(sorted(waits), replica_seconds)
