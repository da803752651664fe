"""Pauses between tries."""

from __future__ import annotations

import pytest

from ark_process.backoff import Backoff


def test_pauses_double_up_to_the_longest_however_often_it_fails() -> None:
    backoff = Backoff(1, 10)
    assert [backoff.pause(failures) for failures in (1, 2, 3, 4, 5, 10_000)] == [1, 2, 4, 8, 10, 10]


@pytest.mark.parametrize(("chance", "pause"), [(0.0, 2.0), (0.5, 3.0), (1.0, 4.0)])
def test_chance_chooses_within_the_jitter(chance: float, pause: float) -> None:
    assert Backoff(4, 10, (0.5, 1.0)).pause(1, chance) == pause


def test_drawn_pauses_lie_in_the_jitter_and_differ() -> None:
    drawn = {Backoff(4, 10, (0.5, 1.0)).pause(1) for _ in range(100)}
    assert min(drawn) >= 2
    assert max(drawn) < 4
    assert len(drawn) > 50
