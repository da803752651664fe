"""Tasks like those that a record has seen."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ark_sizing.choice import size
from ark_sizing.record import Span, service_seconds, spans_of, tasks_of
from ark_sizing.setting import Setting
from ark_sizing.simulation import Pool, Task

TASKS = st.lists(st.tuples(st.floats(0, 300), st.floats(0.1, 60)), max_size=60)


@given(tasks=TASKS)
def test_a_record_has_every_task_and_all_of_their_work(tasks: list[tuple[float, float]]) -> None:
    spans = spans_of(Task(at, seconds) for at, seconds in tasks)
    assert sum(span.arrivals for span in spans) == len(tasks)
    assert sum(span.busy_seconds for span in spans) == pytest.approx(sum(seconds for _, seconds in tasks))


@given(tasks=TASKS)
def test_its_tasks_come_in_the_same_spans(tasks: list[tuple[float, float]]) -> None:
    spans = spans_of(Task(at, seconds) for at, seconds in tasks)
    made = tasks_of(spans)
    assert made == sorted(made, key=lambda task: task.at)
    assert [task.at // 10 for task in made] == [task.at // 10 for task in sorted(Task(*given) for given in tasks)]
    assert made == tasks_of(spans), "the same ones each time"


def test_its_tasks_take_as_long_on_average() -> None:
    chance = random.Random(3)
    spans = spans_of(Task(number / 5, chance.uniform(2.0, 8.0)) for number in range(20_000))
    made = tasks_of(spans)
    assert service_seconds(spans) == pytest.approx(5.0, rel=0.02)
    assert sum(task.seconds for task in made) / len(made) == pytest.approx(5.0, rel=0.03)


def test_tasks_too_short_to_be_seen_at_work_have_some_work_all_the_same() -> None:
    spans = [Span(10.0 * number, 9, 0.0) for number in range(200)]
    assert service_seconds(spans) == 0.1
    found = size(spans, Pool(), Setting())
    assert found.expected is not None
    assert len(found.expected.waits) == 3 * len(tasks_of(spans)) == 3 * 1800


def test_a_record_without_arrivals_has_no_tasks() -> None:
    assert tasks_of([Span(0, 0, 12.0)]) == []
    assert tasks_of([]) == []
