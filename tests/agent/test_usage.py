"""What a call has cost is never booked too low, however its provider counts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ark_agent.providers.usage import MOST_TOKENS, Reported, tokens


@pytest.mark.parametrize(
    ("reported", "spent"),
    [
        (Reported(100, 20, 120), (100, 20)),
        (Reported(100, 20), (100, 20)),
        (Reported(118, 44_000, 150_860), (118, 150_742)),  # reasoning beside the output, in the total alone
        (Reported(118, 44_000, None, 106_742), (118, 150_742)),  # in neither
        (Reported(118, 44_000, None, 40_000), (118, 44_000)),  # a part of the output
        (Reported(100, 20, 90), (100, 20)),
        (Reported(0, 0, 0), (7, 3)),
        (Reported(0, 20, 20), (7, 20)),
        (Reported(0, 20, 500), (480, 20)),
        (Reported(100, 0, 100), (100, 3)),
        (Reported(None, None, None), (None, None)),
        (Reported(100, None, 130), (100, 30)),
        (Reported(None, 20, 120), (None, 20)),
        (Reported(100, None, None), (100, None)),
    ],
)
def test_it_is_no_less_than_the_total_and_a_zero_is_estimated(
    reported: Reported, spent: tuple[int | None, int | None]
) -> None:
    assert reported.spent(7, 3) == spent


@pytest.mark.parametrize(
    ("reported", "least"),
    [
        (Reported(None, None, 150_860), 150_860),
        (Reported(None, 44_118, 150_860), 150_860),
        (Reported(None, 50_000), 50_000),
        (Reported(106_742, None), 106_742),
        (Reported(None, 20, cached=90_000), 90_020),
        (Reported(10, 5, 12, reasoning=30), 40),
        (Reported(), 0),
    ],
)
def test_a_call_has_cost_at_least_what_is_known_of_it(reported: Reported, least: int) -> None:
    assert reported.least == least


_COUNT = st.none() | st.integers(0, MOST_TOKENS)


@given(_COUNT, _COUNT, _COUNT, _COUNT, st.integers(1, 10**6), st.integers(0, 10**6))
def test_what_is_known_is_never_booked_too_low(
    read: int | None, written: int | None, total: int | None, reasoning: int | None, in_estimate: int, out_estimate: int
) -> None:
    spent_in, spent_out = Reported(read, written, total, reasoning).spent(in_estimate, out_estimate)
    assert spent_in is None or spent_in >= max(1, read or 0)
    assert spent_out is None or spent_out >= (written or 0)
    if spent_in is not None and spent_out is not None:
        assert spent_in + spent_out >= (total or 0)


@pytest.mark.parametrize(
    ("value", "number"),
    [(3, 3), (3.0, 3), (True, None), ("3", None), (3.5, None), (-1, None), (float("nan"), None), (10**12, None)],
)
def test_a_number_of_tokens_is_a_sensible_number(value: object, number: int | None) -> None:
    assert tokens(value) == number
