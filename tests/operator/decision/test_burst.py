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
    of = agent(autoscaling={"tasksPerReplica": 5, **scaling})
    assert burst_replicas(of, found, spec, status) == raised


@pytest.mark.parametrize(
    ("sizing", "found", "raised"),
    [
        ({"reserve": 0}, depth(0, 16), 4),
        ({"reserve": 1.5}, depth(0, 16), 5),  # 16 + 1.5 x 4 = 22 slots
        ({"reserve": 1.5}, depth(0), None),  # nothing to be ready for: the base, if there is one, is the HPA's
        ({"reserve": 0, "targetWaitSeconds": 10, "scaledForWaitSeconds": 40}, depth(100, 0, 4000), None),
        ({"reserve": 0, "targetWaitSeconds": 10, "scaledForWaitSeconds": 20}, depth(100, 0, 4000), 4),
    ],
)
def test_a_burst_goes_as_far_as_the_sizing_that_was_chosen(
    sizing: dict[str, Any], found: Depth, raised: int | None
) -> None:
    wait = {"targetWaitSeconds": sizing["targetWaitSeconds"]} if "targetWaitSeconds" in sizing else {}
    chosen = {"mode": "Adaptive", "patienceSeconds": 15, **sizing}
    of = agent(autoscaling=wait, status={"sizing": chosen})
    assert burst_replicas(of, found, 2, 2) == raised
