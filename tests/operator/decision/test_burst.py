"""How far a burst goes: to exactly what the HPA would ask for."""

from __future__ import annotations

from typing import Any

import pytest

from ark_operator.decision.burst import burst_replicas
from ark_taskqueue import Depth
from tests.operator.builders import agent, depth


@pytest.mark.parametrize(
    ("scaling", "found", "spec", "status", "raised"),
    [
        ({}, depth(48), 1, 1, 10),
        ({}, depth(48), 1, 0, 10),  # just woken, nothing runs yet
        ({}, depth(48), 0, 0, None),  # from zero only KEDA raises it
        ({}, depth(48), 10, 1, None),
        ({}, depth(48), 12, 1, None),  # it only ever raises
        ({"maxReplicas": 6}, depth(48), 1, 1, 6),
        ({}, depth(0, 11), 2, 2, None),  # 10 % over what two are for: within the HPA's tolerance
        ({}, depth(1, 11), 2, 2, 3),
        ({}, depth(11), 2, 3, 3),  # the tolerance goes by what there is, 3, and 11 is 27 % below
        ({}, depth(16), 3, 3, None),
        ({}, depth(17), 3, 3, 4),
        ({"tasksPerReplica": 1}, depth(3), 1, 1, 3),
        ({"targetWaitSeconds": 8}, depth(40, 0, 2000), 1, 1, 2),  # a slot serves four within 8 s
        ({"burst": False}, depth(48), 1, 1, None),
        ({"behavior": {"scaleUp": {"stabilizationWindowSeconds": 5}}}, depth(48), 1, 1, None),
        ({"behavior": {"scaleDown": {"stabilizationWindowSeconds": 5}}}, depth(48), 1, 1, 10),
    ],
)
def test_the_number_of_a_burst(
    scaling: dict[str, Any], found: Depth, spec: int, status: int, raised: int | None
) -> None:
    autoscaling = agent(autoscaling={"tasksPerReplica": 5, **scaling}).autoscaling
    assert autoscaling is not None
    assert burst_replicas(autoscaling, found, spec, status) == raised
