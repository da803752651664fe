"""What came of one contender's run. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from ark_sizing.setting import Setting


@dataclass(frozen=True, slots=True)
class Sample:
    """The queue and the pool at one moment."""

    at: float
    """Seconds since the stretch began."""
    waiting: int
    in_flight: int
    replicas: int
    """Pods that there are (``status.replicas``), terminating ones not counted."""
    ready: int
    pods: int
    """Those that end but still work too."""


@dataclass(frozen=True, slots=True)
class Note:
    """An attempt at a task began or ended."""

    task: str
    what: Literal["begin", "end"]
    at: float
    """Seconds since 1970, by Redis' clock."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run, from the first arrival until the pool was at zero again."""

    submitted: Mapping[str, float]
    """When each task was submitted, seconds since 1970 by Redis' clock."""
    notes: Sequence[Note]
    samples: Sequence[Sample]
    completed: frozenset[str]
    """Tasks with a result."""
    setting: Setting | None = None
    """What scaled the pool, for the simulation; None where it cannot do that."""
    _waits: list[float] = field(init=False, default_factory=list, compare=False)

    def __post_init__(self) -> None:
        first: dict[str, float] = {}
        for note in self.notes:
            if note.what == "begin":
                first.setdefault(note.task, note.at)
        self._waits.extend(sorted(max(0.0, first[task] - at) for task, at in self.submitted.items() if task in first))

    def wait(self, share: int) -> float:
        """Return a percentile of the time from submission to the first attempt, seconds (nearest rank)."""
        return self._waits[max(0, math.ceil(len(self._waits) * share / 100) - 1)] if self._waits else math.inf

    def over(self, seconds: float) -> int:
        """Return how many tasks waited for longer."""
        return sum(wait > seconds for wait in self._waits)

    @property
    def replica_seconds(self) -> float:
        """Pods times the time that they were there."""
        return self._seconds(lambda sample: sample.replicas)

    @property
    def pod_seconds(self) -> float:
        """The same with the Pods that end but still work: what is paid for."""
        return self._seconds(lambda sample: sample.pods)

    @property
    def zero_seconds(self) -> float:
        """From the end of the last task until there was no Pod any more; endless where there still was one."""
        if not self.samples or self.samples[-1].replicas:
            return math.inf
        busy = [sample.at for sample in self.samples if sample.waiting + sample.in_flight]
        there = [sample.at for sample in self.samples if sample.replicas]
        return max(0.0, there[-1] - busy[-1]) if busy and there else 0.0

    @property
    def broken_off(self) -> int:
        """Attempts that began and never ended."""
        counted = Counter(note.what for note in self.notes)
        return counted["begin"] - counted["end"]

    @property
    def twice(self) -> int:
        """Tasks that were worked on to the end more than once."""
        ended = Counter(note.task for note in self.notes if note.what == "end")
        return sum(times > 1 for times in ended.values())

    @property
    def lost(self) -> int:
        """Tasks that were submitted and have no result."""
        return len(self.submitted.keys() - self.completed)

    def raw(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return {
            "waits": [round(wait, 3) for wait in self._waits],
            "samples": [
                [round(one.at, 2), one.waiting, one.in_flight, one.replicas, one.ready, one.pods]
                for one in self.samples
            ],
            "sample columns": ["seconds", "waiting", "in flight", "replicas", "ready", "pods"],
            "lost": self.lost,
            "broken off": self.broken_off,
            "twice": self.twice,
        }

    def _seconds(self, counted: Callable[[Sample], int]) -> float:
        pairs = zip(self.samples, self.samples[1:], strict=False)
        return sum(counted(before) * (after.at - before.at) for before, after in pairs)
