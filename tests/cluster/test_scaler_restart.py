"""The scaler goes and comes back, by a crash and in order."""

from __future__ import annotations

import time

import pytest

from hack.cluster import manifests
from hack.cluster.manifests import Scaling
from tests.cluster.stack import Stack, make_pool
from tests.eventually import eventually

# No poll falls into the test: what wakes the pool is a push.
SCALING = Scaling(max_replicas=3, polling_seconds=600, cooldown_seconds=600)
PUSH_SECONDS = 5.0
SLOW_MACHINE_SECONDS = 10.0


@pytest.mark.parametrize("ending", ["killed", "stopped"])
async def test_push_works_again_within_seconds_of_the_scalers_start(stack: Stack, ending: str) -> None:
    pool = await make_pool(stack, "writer", SCALING)
    await pool.accepted()
    [before] = await stack.pods(manifests.SCALER)
    gone = time.monotonic()
    if ending == "killed":
        await stack.kill_scaler()
    else:
        await stack.kubectl("delete", "pod", before["metadata"]["name"], "--wait=false")

    async def started() -> bool:
        for pod in await stack.pods(manifests.SCALER):
            [status] = pod["status"].get("containerStatuses", [{}])
            if pod["metadata"]["uid"] != before["metadata"]["uid"] and "running" in status.get("state", {}):
                return True
        return False

    await eventually(started, "the new scaler's start", every=0.02)
    at = time.monotonic()
    await pool.submit([0.1])
    await stack.ready(manifests.SCALER)
    # KEDA doubles its pause after each attempt in vain: its next one comes within as long again as the scaler was away.
    away = time.monotonic() - gone
    await pool.reaches(1, away + PUSH_SECONDS + SLOW_MACHINE_SECONDS)
    print(f"scaler {ending}: the pool is awake {time.monotonic() - at:.1f} s after the new one's start")
