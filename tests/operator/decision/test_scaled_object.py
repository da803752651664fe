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
