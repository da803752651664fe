"""A Pod's status from the states of its containers."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from hack.cluster.node.status import ContainerView, Running, State, Terminated, Waiting, phase, pod_status

THEN = datetime(2026, 1, 1, 12, 0, 0, 500_000, UTC)
NOW = datetime(2026, 1, 1, 12, 0, 9, tzinfo=UTC)
RUNS, FRESH, GOOD, BAD = Running(THEN), Waiting(), Terminated(0, None, THEN, NOW), Terminated(137, 9, THEN, NOW)


def view(state: State, *, last: Terminated | None = None, ready: bool = False, restarts: int = 0) -> ContainerView:
    return ContainerView("main", "x", state, last, ready=ready, started=ready, restarts=restarts)


@pytest.mark.parametrize(
    ("views", "policy", "expected"),
    [
        ([view(FRESH)], "Always", "Pending"),
        ([view(RUNS), view(FRESH)], "Always", "Pending"),
        ([view(RUNS)], "Always", "Running"),
        ([view(Waiting("CrashLoopBackOff"), last=BAD)], "Always", "Running"),
        ([view(GOOD)], "Always", "Running"),
        ([view(GOOD)], "Never", "Succeeded"),
        ([view(GOOD), view(BAD)], "Never", "Failed"),
        ([view(GOOD), view(RUNS)], "Never", "Running"),
        ([view(GOOD)], "OnFailure", "Succeeded"),
        ([view(BAD)], "OnFailure", "Running"),
    ],
)
def test_the_phase_follows_states_and_restart_policy(views: list[ContainerView], policy: str, expected: str) -> None:
    assert phase(views, policy) == expected


def test_a_ready_pod_says_since_when_and_a_container_what_became_of_it() -> None:
    views = [view(RUNS, last=BAD, ready=True, restarts=2)]
    status = pod_status(views, "Always", "127.64.0.1", THEN, NOW)
    conditions = {entry["type"]: entry for entry in status["conditions"]}
    assert (status["podIP"], status["startTime"]) == ("127.64.0.1", "2026-01-01T12:00:00Z")
    assert conditions["Ready"] == {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T12:00:09Z"}
    [container] = status["containerStatuses"]
    assert (container["restartCount"], container["ready"]) == (2, True)
    assert container["lastState"]["terminated"]["exitCode"] == 137
    assert container["lastState"]["terminated"]["signal"] == 9


def test_a_pod_that_is_not_ready_names_the_containers() -> None:
    [*_, ready] = pod_status([view(RUNS)], "Always", "127.64.0.1", THEN, None)["conditions"]
    assert (ready["status"], ready["reason"]) == ("False", "ContainersNotReady")
    assert "main" in ready["message"]
