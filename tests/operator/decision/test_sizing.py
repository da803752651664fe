"""What the status says of a pool's sizing, and when it changes."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ark_kube.objects import Object
from ark_operator.decision import sizing
from ark_operator.decision.agent import Agent
from ark_operator.decision.decide import decide
from ark_operator.decision.observed import Observed
from ark_operator.decision.plan import Plan
from ark_sizing.choice import Expected, Sizing
from ark_sizing.in_force import own_setting, setting_of
from ark_sizing.setting import Base, Setting
from tests.operator.builders import OPTIONS, agent, its_deployment, its_scaled_object

NOW = datetime(2026, 11, 27, 12, 0, 0, tzinfo=UTC)
THEN = "2026-11-27T11:00:00Z"
CHOSEN = Setting(1.5, 15.0, Base(0.9, 300))
CHOICE = Sizing(CHOSEN, "cheapest for its waits", Expected(1.94, 3.16))
ADAPTIVE: Object = {
    "mode": "Adaptive",
    "tasksPerReplica": 5,
    "reserve": 1.5,
    "patienceSeconds": 15.0,
    "baseQuantile": 0.9,
    "baseSeconds": 300,
    "message": "Cheapest for its waits.",
    "since": THEN,
    "expectedWaitSeconds": 1.9,
    "expectedReplicas": 3.2,
}
SAFE: Object = {
    "mode": "Adaptive",
    "tasksPerReplica": 3,
    "patienceSeconds": 60.0,
    "message": "No sizing has been chosen yet.",
    "since": THEN,
}


def sized(before: Object | None, choice: Sizing | None, now: datetime = NOW, **scaling: Any) -> Object | None:
    of = agent(autoscaling=scaling, status=None if before is None else {"sizing": before})
    found = sizing.build(of, Observed(sizing=choice, start_seconds=2.0), now)
    return None if found is None else {name: value for name, value in found.items() if name != "startSeconds"}


def test_a_new_pool_has_the_defaults_and_says_so() -> None:
    assert sized(None, None) == {**SAFE, "since": "2026-11-27T12:00:00Z"}


def test_a_pool_whose_pods_were_never_seen_starting_says_so() -> None:
    found = sizing.build(agent(autoscaling={}), Observed(), NOW)
    assert found is not None
    assert found["message"] == "No Pod has been seen starting yet, so no sizing can be chosen."


def test_a_short_record_keeps_the_defaults_and_is_the_reason() -> None:
    of = agent(autoscaling={})
    short = Sizing(own_setting(of), "the record has 12 tasks in 3 min, too few to go by", None)
    assert sized(SAFE, short) == {**SAFE, "message": "The record has 12 tasks in 3 min, too few to go by."}


def test_what_is_chosen_is_in_force_and_says_why_and_what_is_expected() -> None:
    assert sized(SAFE, CHOICE) == {**ADAPTIVE, "since": "2026-11-27T12:00:00Z"}


def test_what_stands_in_the_status_is_what_was_chosen() -> None:
    wanted = replace(CHOSEN, target_wait_seconds=120.0)  # by which 95 % wait 30 s at most
    found = sized(SAFE, replace(CHOICE, setting=wanted), targetWaitSeconds=30)
    assert found is not None
    assert (found["targetWaitSeconds"], found["scaledForWaitSeconds"]) == (30, 120.0)
    assert setting_of(agent(autoscaling={"targetWaitSeconds": 30}, status={"sizing": found})) == wanted


def test_a_choice_for_another_wait_is_void() -> None:
    before = {**ADAPTIVE, "targetWaitSeconds": 30, "scaledForWaitSeconds": 120.0}
    of = agent(autoscaling={"targetWaitSeconds": 10}, status={"sizing": before})
    assert setting_of(of) == own_setting(of)
    found = sized(before, None, targetWaitSeconds=10)
    assert found is not None
    assert found["message"] == "No sizing has been chosen yet."


@pytest.mark.parametrize(
    "status",
    [
        {"mode": "Adaptive", "reserve": 1},
        {"mode": "Adaptive", "reserve": "x", "patienceSeconds": 15},
        {"mode": "Adaptive", "reserve": 1, "patienceSeconds": 86_400},
        {"mode": "Adaptive", "reserve": 1e9, "patienceSeconds": 15},
        {"mode": "Adaptive", "reserve": 1, "patienceSeconds": 15, "baseQuantile": 0.9},
        {"mode": "Adaptive", "reserve": 1, "patienceSeconds": 15, "baseQuantile": 0, "baseSeconds": 300},
        {"mode": "Adaptive", "reserve": None, "patienceSeconds": 15},
    ],
)
def test_a_status_without_a_possible_sizing_has_none_that_was_chosen(status: Object) -> None:
    of = agent(autoscaling={}, status={"sizing": status})
    assert setting_of(of) == own_setting(of)
    assert sizing.build(of, Observed(), NOW) is not None


@pytest.mark.parametrize(
    ("down", "seconds"),
    [
        ({"stabilizationWindowSeconds": None}, 300.0),
        ({"stabilizationWindowSeconds": "soon"}, 300.0),
        ({}, 300.0),
        ("no rule", 300.0),
    ],
)
def test_a_behavior_that_only_the_hpa_checks_stops_nobody(down: Any, seconds: float) -> None:
    assert own_setting(agent(autoscaling={"behavior": {"scaleDown": down}})).patience_seconds == seconds


@pytest.mark.parametrize("since", ["2026-11-27T11:00:00.5Z", "2026-11-27T12:00:00+01:00", "2027-01-01T00:00:00Z"])
def test_a_time_that_makes_no_sense_holds_nothing_up(since: str) -> None:
    assert sized({**SAFE, "since": since}, CHOICE) == {**ADAPTIVE, "since": "2026-11-27T12:00:00Z"}


def test_other_slots_are_no_other_sizing() -> None:
    of = agent(autoscaling={}, limits={"maxConcurrentTasks": 8}, status={"sizing": ADAPTIVE})
    found = sizing.build(of, Observed(), NOW)
    assert found == {**ADAPTIVE, "tasksPerReplica": 8}


def test_a_choice_that_comes_too_early_is_looked_at_again_when_it_may_be_taken() -> None:
    fresh = {**SAFE, "since": "2026-11-27T11:58:00Z"}
    of = agent(autoscaling={}, replicas=2, mirrored=2, status={"mode": "Auto", "sizing": fresh})
    told, plan = settled(of, CHOICE)
    assert plan.again_after == 180.0
    assert told.status["sizing"]["since"] == fresh["since"]


def test_the_same_choice_keeps_its_reason_and_its_time() -> None:
    again = Sizing(CHOSEN, "no other sizing is clearly better", Expected(2.5, 3.0))
    assert sized(ADAPTIVE, again) == {**ADAPTIVE, "expectedWaitSeconds": 2.5, "expectedReplicas": 3.0}


def test_without_a_look_all_stays() -> None:
    assert sized(ADAPTIVE, None) == ADAPTIVE


@pytest.mark.parametrize(("seconds", "changes"), [(0, False), (299, False), (300, True)])
def test_five_minutes_lie_between_two_changes(seconds: int, changes: bool) -> None:
    since = datetime(2026, 11, 27, 11, 0, 0, tzinfo=UTC)
    other = Sizing(Setting(0.5, 15.0), "cheapest for its waits", Expected(4.0, 2.0))
    found = sized(ADAPTIVE, other, since + timedelta(seconds=seconds))
    assert found is not None
    assert (found["reserve"] == 0.5) is changes
    if not changes:
        assert found == ADAPTIVE


def test_a_record_that_is_lost_brings_the_defaults_back() -> None:
    of = agent(autoscaling={})
    lost = Sizing(own_setting(of), "the record has 0 tasks in 0 min, too few to go by", None)
    found = sized(ADAPTIVE, lost)
    assert found == {
        **SAFE,
        "message": "The record has 0 tasks in 0 min, too few to go by.",
        "since": "2026-11-27T12:00:00Z",
    }


@pytest.mark.parametrize(
    ("scaling", "numbers", "message"),
    [
        ({"sizing": "Fixed"}, (3, 60.0), "spec.autoscaling.sizing is Fixed."),
        ({"tasksPerReplica": 4}, (4, 60.0), "spec.autoscaling.tasksPerReplica is set."),
        ({"burst": False}, (3, 60.0), "spec.autoscaling.burst is false."),
        (
            {"behavior": {"scaleDown": {"stabilizationWindowSeconds": 120}}},
            (3, 120.0),
            "spec.autoscaling.behavior is set.",
        ),
        ({"behavior": {"scaleDown": {"policies": []}}}, (3, 300.0), "spec.autoscaling.behavior is set."),
    ],
)
def test_what_a_person_sets_is_fixed(scaling: dict[str, Any], numbers: tuple[int, float], message: str) -> None:
    found = sized(ADAPTIVE, CHOICE, **scaling)
    assert found is not None
    assert (found["mode"], found["message"]) == ("Fixed", message)
    assert (found["tasksPerReplica"], found["patienceSeconds"]) == numbers
    assert "reserve" not in found


def test_a_pool_of_a_fixed_size_only_has_what_is_measured() -> None:
    assert sizing.build(agent(), Observed(start_seconds=2.5), NOW) == {"startSeconds": 2.5}
    assert sizing.build(agent(), Observed(), NOW) is None


def settled(of: Agent, choice: Sizing | None) -> tuple[Agent, Plan]:
    observed = Observed(deployment=its_deployment(of, 2), scaled_object=its_scaled_object(of), sizing=choice)
    plan = decide(of, observed, None, NOW, OPTIONS)
    return of if plan.status is None else Agent({**of.object, "status": plan.status}), plan


def test_a_choice_reaches_the_scaled_object_by_the_status_and_is_an_event_once() -> None:
    of = agent(autoscaling={}, replicas=2, mirrored=2, status={"mode": "Auto", "sizing": SAFE})
    now, plan = settled(of, CHOICE)
    assert (plan.autoscale, plan.again_after) == (None, 0.0)
    [note] = plan.notes
    assert (note.reason, note.message) == (
        "SizingChanged",
        "The pool is now sized with reserve 1.5, base 90%/5m, patience 15s. Cheapest for its waits. On the record, "
        "95 % of the tasks would have waited 1.9 s at most, with 3.2 replicas on average.",
    )
    there = Observed(deployment=its_deployment(of, 2), scaled_object=its_scaled_object(of), sizing=CHOICE)
    then = decide(now, there, None, NOW, OPTIONS)
    assert then.autoscale is not None
    assert then.autoscale["spec"]["triggers"][0]["metadata"]["reserve"] == "1.5"
    assert (then.notes, then.again_after) == ((), None)


def test_a_pool_that_is_new_or_that_a_person_fixes_has_no_event() -> None:
    new = agent(autoscaling={}, replicas=2, mirrored=2)
    assert settled(new, None)[1].notes == ()
    fixed = agent(autoscaling={"tasksPerReplica": 4}, replicas=2, mirrored=2, status={"sizing": ADAPTIVE})
    assert settled(fixed, None)[1].notes == ()
    status = {"sizing": ADAPTIVE}
    other = agent(autoscaling={"targetWaitSeconds": 10}, replicas=2, mirrored=2, status=status)
    assert settled(other, None)[1].notes == ()
    wider = agent(autoscaling={}, limits={"maxConcurrentTasks": 8}, replicas=2, mirrored=2, status=status)
    assert settled(wider, None)[1].notes == ()


def test_a_sizing_that_is_given_up_is_an_event() -> None:
    of = agent(autoscaling={}, replicas=2, mirrored=2, status={"mode": "Auto", "sizing": ADAPTIVE})
    lost = Sizing(own_setting(of), "the record has 0 tasks in 0 min, too few to go by", None)
    [note] = settled(of, lost)[1].notes
    assert note.message == (
        "The pool is now sized with tasksPerReplica 3, patience 60s. The record has 0 tasks in 0 min, too few to go by."
    )
