"""Backoff between attempts."""

from __future__ import annotations

import pytest

from ark_taskqueue import RetryPolicy


@pytest.mark.parametrize(
    ("failures", "jitter", "seconds"),
    [
        (1, 0.0, 0.5),
        (1, 0.999, 0.9995),
        (2, 0.0, 1.0),
        (5, 0.0, 8.0),
        (9, 0.0, 128.0),
        (50, 0.0, 150.0),
        (10**6, 0.5, 225.0),
    ],
)
def test_the_rest_doubles_with_each_failure_up_to_the_longest_and_half_of_it_is_random(
    failures: int, jitter: float, seconds: float
) -> None:
    assert RetryPolicy(first_backoff=1, longest_backoff=300).rest(failures, jitter) == pytest.approx(seconds)
