"""Tasks like those that a record has seen."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ark_sizing.choice import size
from ark_sizing.record import MOST_SECONDS, MOST_TASKS, Span, sample_of, service_seconds, spans_of, tasks_of
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
    assert found.expected.wait_seconds == 0.0


def test_a_record_without_arrivals_has_no_tasks() -> None:
    assert tasks_of([Span(0, 0, 12.0)]) == []
    assert tasks_of([]) == []


def test_a_sample_is_the_last_two_hours_from_their_beginning() -> None:
    record = [Span(10.0 * number, 1, 30.0) for number in range(2000)]
    sample = sample_of(record, 500, 1200)
    assert (sample.seconds, sample.every, len(sample.plays)) == (MOST_SECONDS, 1, 1)
    assert len(sample.plays[0]) == 720
    assert 0.0 <= sample.plays[0][0].at < 10.0
    assert sample.service == 30.0


def test_a_sample_of_few_tasks_goes_back_further() -> None:
    record = [Span(3600.0 * number, 100, 30.0) for number in range(24)]
    assert len(sample_of(record, 500, 1200).plays[0]) == 500


def test_a_short_sample_is_played_several_times_with_other_tasks() -> None:
    record = [Span(10.0 * number, 5, 30.0) for number in range(120)]
    plays = sample_of(record, 500, 1200).plays
    assert len(plays) == 3
    assert len({tuple(tasks) for tasks in plays}) == 3
    assert plays == sample_of(record, 500, 1200).plays


def test_of_very_many_tasks_one_in_so_many_is_played_once() -> None:
    record = [Span(10.0 * number, 1000, 3000.0) for number in range(720)]
    sample = sample_of(record, 500, 1200)
    assert (sample.seconds, sample.every, len(sample.plays)) == (1210.0, 4, 1)
    assert len(sample.plays[0]) == pytest.approx(30_250)


def test_many_tasks_are_played_over_a_shorter_time_before_any_is_left_out() -> None:
    record = [Span(10.0 * number, 100, 10.0) for number in range(720)]
    sample = sample_of(record, 500, 1200)
    assert (sample.seconds, sample.every, len(sample.plays[0])) == (4000.0, 1, 40_000)


def test_a_sample_of_rare_bursts_has_more_than_one_of_them() -> None:
    burst = [Span(10.0 * number, 20, 60.0) for number in range(30)]
    record = [Span(span.at + 10_800.0 * hour, span.arrivals, span.busy_seconds) for hour in range(8) for span in burst]
    sample = sample_of(record, 500, 1200)
    assert sample.seconds > 10_800.0
    assert len(sample.plays[0]) > 600


def test_numbers_that_no_queue_has_do_not_fill_the_memory() -> None:
    record = [Span(10.0 * number, 10**9, 10**8) for number in range(120)]
    sample = sample_of(record, 500, 1200)
    assert len(sample.plays[0]) <= MOST_TASKS
    assert sample.service == pytest.approx(0.1)


def test_a_thinned_sample_works_as_long_on_each_task() -> None:
    record = [Span(10.0 * number, 1000, 3000.0) for number in range(120)]
    [tasks] = sample_of(record, 500, 1200).plays
    assert sum(task.seconds for task in tasks) / len(tasks) == pytest.approx(3.0, rel=0.05)
