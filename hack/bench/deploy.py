"""Redis, the scaler and the operator on a process cluster, for benchmarks that bring their own pools."""

from __future__ import annotations

import asyncio

from hack.cluster import manifests, operator_manifests
from hack.cluster.access import Access


async def deploy(access: Access, namespace: str) -> str:
    """Deploy all three, and wait until they are ready; return Redis' ``host:port``.

    Args:
        access: the cluster.
        namespace: gets Redis and the scaler; the operator has its own.
    """
    kubectl, system = access.kubectl, operator_manifests.NAMESPACE
    objects = [operator_manifests.crd(), manifests.namespace(system), *operator_manifests.rbac()]
    await asyncio.to_thread(kubectl.apply, [*objects, manifests.namespace(namespace), *manifests.redis(namespace)])
    await asyncio.to_thread(access.wait_ready, namespace, manifests.REDIS)
    redis = await asyncio.to_thread(access.address, namespace, manifests.REDIS, manifests.REDIS_PORT)
    url = f"redis://{redis}/0"
    await asyncio.to_thread(kubectl.apply, manifests.scaler(namespace, url))
    scaler = await asyncio.to_thread(access.address, namespace, manifests.SCALER, manifests.SCALER_PORT)
    await asyncio.to_thread(kubectl.apply, [operator_manifests.deployment(system, url, scaler)])
    await asyncio.to_thread(access.wait_ready, namespace, manifests.SCALER)
    await asyncio.to_thread(access.wait_ready, system, operator_manifests.ACCOUNT)
    return redis
