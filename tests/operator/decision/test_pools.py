"""What metrics say of a pool."""

from __future__ import annotations

from typing import Any

import pytest

from ark_api.status import Mode
from ark_operator.decision.pools import pool_of
from tests.operator.builders import agent

DEPLOYMENT = {"spec": {"replicas": 4}, "status": {"readyReplicas": 3}}


@pytest.mark.parametrize(
    ("spec", "deployment", "numbers"),
    [
        ({"autoscaling": {"maxReplicas": 10}}, DEPLOYMENT, (4, 3, 10, 15)),
        ({"autoscaling": {"maxReplicas": 10}}, None, (0, 0, 10, 0)),
        ({"autoscaling": {"maxReplicas": 10}}, {"spec": {"replicas": 0}}, (0, 0, 10, 0)),
        ({}, DEPLOYMENT, (4, 3, 4, 15)),
        ({"limits": {"maxConcurrentTasks": 2}}, DEPLOYMENT, (4, 3, 4, 6)),
    ],
    ids=["autoscaled", "no Deployment yet", "at zero", "of fixed size", "two tasks at a time"],
)
def test_a_pools_numbers(spec: dict[str, Any], deployment: dict[str, Any] | None, numbers: tuple[int, ...]) -> None:
    pool = pool_of(agent(**spec), Mode.AUTO, deployment, None)
    assert (pool.wanted, pool.ready, pool.greatest, pool.capacity) == numbers
