"""Whether a program is ready, and whether anybody was ever told so."""

from __future__ import annotations

from ark_process.leaving import Readiness


def test_a_program_that_leaves_is_not_ready_any_more_and_says_so() -> None:
    readiness = Readiness(lambda: None, "scaler")
    assert readiness.told() is None
    assert readiness.leave(), "a Service may lead here"
    assert readiness.told() == "the scaler is stopping"


def test_nobody_is_sent_to_a_program_that_no_probe_has_found_ready() -> None:
    reasons = ["no Redis yet"]
    readiness = Readiness(lambda: reasons[0] if reasons else None, "scaler")
    assert readiness.told() == "no Redis yet"
    reasons.clear()
    assert readiness.lacks() is None, "asked by nobody else"
    assert not readiness.leave()
