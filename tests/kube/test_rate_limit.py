"""The token bucket, on a clock that stands still."""

from __future__ import annotations

import time

import pytest

from ark_kube.rate_limit import RateLimit


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_goes_through_at_once_and_the_rest_at_its_rate() -> None:
    limit = RateLimit(10, 3, Clock())
    assert [limit.reserve() for _ in range(5)] == pytest.approx([0, 0, 0, 0.1, 0.2])


def test_tokens_come_back_up_to_the_burst() -> None:
    clock = Clock()
    limit = RateLimit(10, 2, clock)
    limit.reserve(), limit.reserve()
    clock.now += 0.05
    assert limit.reserve() == pytest.approx(0.05)
    clock.now += 60
    assert [limit.reserve() for _ in range(3)] == pytest.approx([0, 0, 0.1])


@pytest.mark.parametrize(("per_second", "burst"), [(0, 1), (-1, 1), (1, 0)])
def test_a_limit_that_lets_nothing_through_is_refused(per_second: float, burst: int) -> None:
    with pytest.raises(ValueError, match="would let nothing through"):
        RateLimit(per_second, burst)


async def test_waiting_takes_as_long_as_the_token() -> None:
    limit = RateLimit(100, 1)
    began = time.monotonic()
    for _ in range(5):
        await limit.wait()
    assert time.monotonic() - began >= 0.04, "the first is there, and four have to come"
