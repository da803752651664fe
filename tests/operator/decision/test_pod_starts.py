"""How long Pods take to start, as the operator sees it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from ark_operator.decision.pod_starts import PodStarts
from tests.operator.builders import agent, its_deployment

START = datetime(2026, 1, 1, tzinfo=UTC)


def seen(*looks: tuple[float, int, int], known: float | None = None, starts: PodStarts | None = None) -> float | None:
    """Look at a pool at some seconds, with so many replicas asked for and ready; return the last answer."""
    starts = starts or PodStarts()
    status = None if known is None else {"sizing": {"startSeconds": known}}
    answer = None
    for at, replicas, ready in looks:
        one = agent(status=status)
        deployment = its_deployment(one, replicas, readyReplicas=ready)
        answer = starts.look(one, deployment, START + timedelta(seconds=at))
    return answer


@pytest.mark.parametrize(
    ("looks", "seconds"),
    [
        ([(0, 0, 0)], None),
        ([(0, 0, 0), (10, 1, 0), (13, 1, 1)], 3.0),
        ([(0, 3, 3), (60, 3, 3)], None),  # they were there before
        ([(0, 3, 0), (60, 3, 3)], None),  # nobody knows since when they are asked for
        ([(0, 1, 1), (10, 3, 1), (14, 3, 3)], 4.0),
        ([(0, 1, 1), (10, 2, 1), (12, 3, 1), (14, 3, 2), (16, 3, 3)], 4.0),  # 10 to 14, and 12 to 16
        ([(0, 0, 0), (10, 2, 0), (12, 1, 0), (13, 1, 1)], 3.0),  # what is not asked for any more never starts
        ([(0, 0, 0), (10, 1, 0), (13, 1, 1), (20, 1, 0), (60, 1, 1)], 3.0),  # a Pod that was not ready for a while
        ([(0, 0, 0), (10, 1, 0), (5, 1, 1)], None),  # a clock that was put back
        ([(0, 0, 0), (10, 1, 1)], None),  # asked for and ready at one look: nobody saw it start
    ],
)
def test_a_start_goes_from_the_request_to_readiness(looks: list[tuple[float, int, int]], seconds: float | None) -> None:
    assert seen(*looks) == seconds


def test_the_status_is_what_the_next_leader_begins_with() -> None:
    assert seen((0, 2, 2), known=8.0) == 8.0
    assert seen((0, 0, 0), (10, 1, 0), (14, 1, 1), known=8.0) == 7.0, "a quarter of the way from 8 to 4"


def test_one_odd_start_moves_the_mean_little_and_many_move_it_there() -> None:
    starts = PodStarts()
    assert seen((0, 0, 0), (10, 1, 0), (12, 1, 1), starts=starts) == 2.0
    assert seen((20, 0, 0), (30, 1, 0), (3630, 1, 1), starts=starts) == 2.5
    for number in range(40):
        at = 4000.0 + 100 * number
        mean = seen((at, 0, 0), (at + 1, 1, 0), (at + 31, 1, 1), starts=starts)
    assert mean == pytest.approx(30.0, rel=0.05)


def test_a_deployment_that_is_made_is_measured_and_one_of_somebody_else_is_not() -> None:
    starts, one = PodStarts(), agent()
    later = [START + timedelta(seconds=seconds) for seconds in range(10)]
    other = its_deployment(one, 1, readyReplicas=0)
    other["metadata"]["ownerReferences"] = []
    starts.look(one, other, later[0])
    starts.look(one, {**other, "status": {"readyReplicas": 1}}, later[1])
    assert starts.look(one, None, later[2]) is None
    assert starts.look(one, its_deployment(one, 1, readyReplicas=0), later[3]) is None
    assert starts.look(one, its_deployment(one, 1), later[8]) == 5.0


def test_an_agent_that_is_gone_is_forgotten() -> None:
    starts = PodStarts()
    seen((0, 0, 0), (10, 1, 0), (12, 1, 1), starts=starts)
    starts.forget(agent().key)
    assert starts == PodStarts()
