"""The gate: closed for a while, for one reason or several."""

from __future__ import annotations

from ark_agent.gate import Gate


def test_a_gate_is_closed_until_the_last_of_its_reasons_is_over() -> None:
    now = [100.0]
    gate = Gate(lambda: now[0])
    assert gate.seconds == 0
    gate.close("budget", 10)
    gate.close("provider", 3)
    assert (gate.seconds, gate.closed("budget"), gate.closed("handler")) == (10, True, False)
    now[0] += 4
    assert (gate.seconds, gate.closed("provider")) == (6, False)
    gate.close("budget", 1)
    assert gate.seconds == 1, "the newest word on a reason counts"
    gate.open("budget")
    gate.open("budget")
    assert gate.seconds == 0
