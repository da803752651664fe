"""Tasks like those that the record of a queue's demand has seen (contract C8)."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from ark_sizing.setting import SPAN_SECONDS
from ark_sizing.simulation import Task

_LEAST_SERVICE_SECONDS = 0.1
"""Who writes the record looks once a second: of much shorter tasks it sees none at work."""
MOST_SECONDS = 7200.0
"""Of a record that a sizing is chosen by, the last ones; more where there are few tasks."""
MOST_TASKS = 40_000
"""Played at a time. Of more, one in so many is kept, for a pool that is as much smaller."""
_PLAYED_SECONDS, _PLAYED_TASKS, _MOST_PLAYS = MOST_SECONDS, 20_000, 3
"""In all, about: a smaller sample is played several times."""


@dataclass(frozen=True, slots=True)
class Span:
    """Ten seconds of a queue; those without tasks may be left out of a record."""

    at: float
    """When they began, seconds."""
    arrivals: int
    """Tasks that were added in them."""
    busy_seconds: float
    """Slots that had a task, times the time that they had one."""


def spans_of(tasks: Iterable[Task]) -> list[Span]:
    """Return the record of tasks that did not wait."""
    arrivals: dict[int, int] = {}
    busy: dict[int, float] = {}
    for task in tasks:
        first = int(task.at // SPAN_SECONDS)
        arrivals[first] = arrivals.get(first, 0) + 1
        ends = task.at + task.seconds
        for number in range(first, int(ends // SPAN_SECONDS) + 1):
            begin = number * SPAN_SECONDS
            inside = min(ends, begin + SPAN_SECONDS) - max(task.at, begin)
            busy[number] = busy.get(number, 0.0) + inside
    return [Span(number * SPAN_SECONDS, arrivals.get(number, 0), busy[number]) for number in sorted(busy)]


def service_seconds(spans: Sequence[Span]) -> float:
    """Return how long a task works on average, and no less than a record can tell; that too where none was added."""
    arrivals = sum(span.arrivals for span in spans)
    return max(_LEAST_SERVICE_SECONDS, sum(span.busy_seconds for span in spans) / max(1, arrivals))


def tasks_of(spans: Sequence[Span], seed: int = 0) -> list[Task]:
    """Return tasks that could have made a record, the same ones each time.

    A span does not say when in it its tasks came, so any moment of it is as likely as another; and of what they took
    nothing but the mean is known, so the times are exponential, which is what is likeliest then.
    """
    chance = random.Random(seed)  # noqa: S311 - no secret
    mean = service_seconds(spans)
    tasks = []
    for span in spans:
        moments = sorted(chance.random() for _ in range(span.arrivals))
        tasks += [Task(span.at + SPAN_SECONDS * moment, chance.expovariate(1 / mean)) for moment in moments]
    return tasks


@dataclass(frozen=True, slots=True)
class Sample:
    """What is played of a record."""

    plays: Sequence[Sequence[Task]]
    """Tasks that could have made it, once or several times: what chance made of a single play decides less then."""
    every: int
    """Of so many tasks one was kept."""
    service: float
    """Mean seconds of work of a task."""
    seconds: float
    """From the beginning of the first span to the end of the last one."""


def sample_of(record: Sequence[Span], least_tasks: int, least_seconds: float) -> Sample:
    """Return tasks like the last ones of a record.

    Of very many tasks the last ones are played, and where those are of too short a time, one in so many for a pool that
    is as much smaller: what a reserve of so many roots is worth is about the same at every size (square-root staffing).

    Args:
        record: the spans, the oldest first; with at least one task.
        least_tasks: how many the sample must have, however long ago they were added, if the record has so many.
        least_seconds: how far it must go back, if the record does.
    """
    last = record[-1].at
    spans: list[Span] = []
    tasks = 0
    for span in reversed(record):
        enough = tasks >= least_tasks and spans and last - spans[-1].at >= least_seconds
        if enough and (last - span.at >= MOST_SECONDS or tasks + span.arrivals > MOST_TASKS):
            break
        spans.append(span)
        tasks += span.arrivals
    began = spans[-1].at
    spans = [replace(span, at=span.at - began) for span in reversed(spans)]
    seconds = spans[-1].at + SPAN_SECONDS
    every = math.ceil(tasks / MOST_TASKS)
    times = max(1, min(_MOST_PLAYS, int(_PLAYED_SECONDS / seconds), int(_PLAYED_TASKS / tasks)))
    service = service_seconds(spans)
    if every > 1:
        spans = list(_thinned(spans, every))
    plays = [tasks_of(spans, seed) for seed in range(times)]
    return Sample(plays, every, service, seconds)


def _thinned(spans: Iterable[Span], every: int) -> Iterator[Span]:
    """Yield spans with one in so many of their tasks."""
    rest = 0
    for span in spans:
        arrivals, rest = divmod(span.arrivals + rest, every)
        yield replace(span, arrivals=arrivals, busy_seconds=span.busy_seconds / every)
