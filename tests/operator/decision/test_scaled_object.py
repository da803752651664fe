"""What an agent's ScaledObject says where the agent does not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ark_operator.decision import scaled_object
from tests.operator.builders import OPTIONS, agent


def built(**spec: Any) -> dict[str, Any]:
    of = agent(**spec)
    assert of.autoscaling is not None
    made: dict[str, Any] = scaled_object.build(of, of.autoscaling, OPTIONS, paused=False)["spec"]
    return made


@pytest.mark.parametrize(
    ("slots", "scaling", "target"),
    [
        (5, {}, "3"),
        (1, {}, "1"),
        (2, {}, "1"),
        (10, {}, "7"),
        (1000, {}, "700"),
        (5, {"targetWaitSeconds": 30}, "5"),  # tasks may wait: no slot is kept free for them
        (5, {"tasksPerReplica": 8}, "8"),
        (5, {"tasksPerReplica": 8, "targetWaitSeconds": 30}, "8"),
    ],
)
def test_three_slots_in_ten_are_kept_free_unless_the_agent_says_otherwise(
    slots: int, scaling: dict[str, Any], target: str
) -> None:
    [trigger] = built(limits={"maxConcurrentTasks": slots}, autoscaling=scaling)["triggers"]
    assert trigger["metadata"]["tasksPerReplica"] == target


@pytest.mark.parametrize("kind", ["ClusterTriggerAuthentication", "TriggerAuthentication"])
def test_the_trigger_names_the_object_with_kedas_certificate(kind: str) -> None:
    options = replace(OPTIONS, scaler_authentication="ark", scaler_authentication_kind=kind)
    of = agent(autoscaling={})
    assert of.autoscaling is not None
    [trigger] = scaled_object.build(of, of.autoscaling, options, paused=False)["spec"]["triggers"]
    assert trigger["authenticationRef"] == {"name": "ark", "kind": kind}


def test_a_pool_is_lowered_after_a_minute_unless_the_agent_says_otherwise() -> None:
    def down(**behavior: Any) -> Any:
        spec = built(autoscaling={"behavior": behavior})
        return spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]["scaleDown"]

    assert down() == {"stabilizationWindowSeconds": 60}
    own = {"stabilizationWindowSeconds": 300, "policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}]}
    assert down(scaleDown=own) == own


def test_a_schedule_is_a_cron_trigger_for_each_time_behind_the_scalers() -> None:
    office = {"start": "0 8 * * 1-5", "end": "0 18 * * 1-5", "timeZone": "Europe/Berlin", "minReplicas": 4}
    night = {"start": "0 2 * * *", "end": "30 2 * * *", "minReplicas": 1}
    scaler, *scheduled = built(autoscaling={"schedule": [office, night]})["triggers"]
    assert scaler["type"] == "external-push"
    assert [trigger["type"] for trigger in scheduled] == ["cron", "cron"]
    berlin = {"timezone": "Europe/Berlin", "start": "0 8 * * 1-5", "end": "0 18 * * 1-5", "desiredReplicas": "4"}
    assert [trigger["metadata"] for trigger in scheduled] == [
        berlin,
        {"timezone": "Etc/UTC", "start": "0 2 * * *", "end": "30 2 * * *", "desiredReplicas": "1"},
    ]


def test_a_chosen_sizing_is_in_the_trigger_and_in_the_patience() -> None:
    chosen = {"mode": "Adaptive", "reserve": 1.5, "patienceSeconds": 30.0, "baseQuantile": 0.9, "baseSeconds": 300}
    spec = built(autoscaling={}, status={"sizing": chosen})
    [trigger] = spec["triggers"]
    keys = ("tasksPerReplica", "reserve", "baseQuantile", "baseSeconds")
    assert [trigger["metadata"][key] for key in keys] == ["5", "1.5", "0.9", "300"]
    behavior = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    assert behavior["scaleDown"] == {"stabilizationWindowSeconds": 30}


@pytest.mark.parametrize("own", [{"tasksPerReplica": 4}, {"sizing": "Fixed"}, {"burst": False}])
def test_what_a_person_sets_wins_at_once_over_what_was_chosen(own: dict[str, Any]) -> None:
    chosen = {"mode": "Adaptive", "reserve": 1.5, "patienceSeconds": 30.0}
    assert built(autoscaling=own, status={"sizing": chosen})["triggers"] == built(autoscaling=own)["triggers"]
