"""KEDA 2.21 asks for StreamMetricSpec, which the scaler leaves unimplemented: it goes on without a word to the user.

KEDA 2.20 never calls it: its source (v2.20.2, pkg/scalers/external_scaler.go) has no such call.
"""

from __future__ import annotations

import json

from hack.cluster.manifests import Scaling
from tests.cluster.stack import Stack, make_pool
from tests.eventually import eventually


async def test_keda_goes_on_without_a_warning(stack: Stack) -> None:
    pool = await make_pool(stack, "writer", Scaling(max_replicas=2))
    await pool.accepted()
    tasks = await pool.submit([1.0])
    await pool.reaches(1, 10)
    await pool.results(tasks)
    assert (await pool.condition("Ready"))["status"] == "True"
    events = json.loads(await stack.kubectl("get", "events", "-o", "json"))["items"]
    warnings = [event for event in events if event["type"] == "Warning"]
    # A real kubelet warns of each probe that comes before its program listens.
    assert [event["message"] for event in warnings if event["source"].get("component") != "kubelet"] == []
    if stack.access.local is not None:  # only there does KEDA log at debug level
        log = stack.access.local.logs / "keda-operator.log"

        def asked() -> bool:
            lines = [line for line in log.read_text().splitlines() if stack.namespace in line]
            assert not [line for line in lines if '"level":"error"' in line]
            return any("StreamMetricSpec not implemented by scaler, skipping" in line for line in lines)

        await eventually(asked, "KEDA's note that it skips StreamMetricSpec")
