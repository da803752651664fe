"""An operator that a test runs in its own event loop, on the test's own API server, with its manifests' rights."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ark_kube.objects import Key
from ark_operator.assembly import running
from ark_operator.cluster.kinds import ARK_AGENTS, DEPLOYMENTS, SCALED_OBJECTS
from ark_operator.replica import Replica
from ark_operator.settings import OperatorSettings
from ark_taskqueue import QueueKeys, TokenUsage
from hack.cluster import api, manifests, operator_manifests
from hack.cluster.api import EVENTS, Api, ApiError, Object
from hack.cluster.control_plane import ControlPlane
from hack.cluster.operator_manifests import install, install_keda
from hack.local.process import free_port
from tests.eventually import eventually

__all__ = ["World", "agent", "exceeded", "install", "install_keda", "operating", "queue_of", "settings_of", "world"]
_STEADY = {"lease_seconds": 40.0, "lease_renew_seconds": 30.0, "lease_retry_seconds": 0.3}
"""A leader that ends in order hands over at once; on a busy machine none may lose its lease by the way."""
_CLOSED_REDIS = f"redis://127.0.0.1:{free_port()}/0"


def agent(name: str = "writer", **spec: Any) -> Object:
    """Return an ArkAgent; `World.make` says where."""
    item = operator_manifests.agent("", name, **{"model": "m", "systemPrompt": "p", **spec})
    del item["metadata"]["namespace"]
    return item


@dataclass(slots=True)
class World:
    """One namespace, and a client with all rights."""

    control_plane: ControlPlane
    api: Api
    namespace: str
    usage: dict[str, TokenUsage] = field(default_factory=dict)
    """Token usage by agent; unknown for those that are not here."""

    async def make(self, item: Object) -> Object:
        """Create an ArkAgent."""
        return await self.api.create(ARK_AGENTS.path(self.namespace), item)

    async def agent(self, name: str = "writer") -> Object:
        """Read an ArkAgent."""
        return await self.api.get(ARK_AGENTS.path(self.namespace, name))

    async def patch(self, name: str = "writer", **spec: Any) -> None:
        """Change an ArkAgent's spec, as ``kubectl patch`` does."""
        await self.api.patch(ARK_AGENTS.path(self.namespace, name), {"spec": spec})

    async def deployment(self, name: str = "writer") -> Object:
        """Read an agent's Deployment."""
        return await self.api.get(DEPLOYMENTS.path(self.namespace, f"{name}-agent"))

    async def scaled_object(self, name: str = "writer") -> Object:
        """Read an agent's ScaledObject."""
        return await self.api.get(SCALED_OBJECTS.path(self.namespace, name))

    async def scale_deployment(self, replicas: int, name: str = "writer") -> None:
        """Scale a Deployment, as KEDA and the HPA do."""
        await self.api.scale(DEPLOYMENTS.path(self.namespace, f"{name}-agent"), replicas)

    async def keda_says(self, status: str = "True", message: str = "", name: str = "writer") -> None:
        """Set the Ready condition of a ScaledObject, as KEDA does, as soon as there is one."""

        async def made() -> bool:
            try:
                await self.scaled_object(name)
            except ApiError:
                return False
            return True

        await eventually(made, f"the ScaledObject of {name}", every=0.05)
        condition = {"type": "Ready", "status": status, "reason": "r", "message": message}
        path = SCALED_OBJECTS.path(self.namespace, name, "status")
        await self.api.patch(path, {"status": {"conditions": [condition]}})

    async def condition(self, kind: str, name: str = "writer") -> tuple[str, str, str]:
        """Return a condition's status, reason and message; empty ones where it is not there."""
        conditions = (await self.agent(name)).get("status", {}).get("conditions", [])
        found = [(c["status"], c["reason"], c["message"]) for c in conditions if c["type"] == kind]
        return found[0] if found else ("", "", "")

    async def events(self, reason: str) -> list[str]:
        """Return the messages of the events of a reason."""
        listed = await self.api.get(EVENTS.path(self.namespace))
        return [item["message"] for item in listed["items"] if item["reason"] == reason]

    async def has(self, kind: str, reason: str, name: str = "writer", seconds: float = 30.0) -> str:
        """Wait until a condition has a reason; return its message."""

        async def there() -> bool:
            return (await self.condition(kind, name))[1] == reason

        await eventually(there, f"{kind} of {name} is {reason}", seconds, every=0.05)
        return (await self.condition(kind, name))[2]

    async def mode(self, mode: str, name: str = "writer", seconds: float = 30.0) -> None:
        """Wait until an agent has a mode."""

        async def there() -> bool:
            return bool((await self.agent(name)).get("status", {}).get("mode") == mode)

        await eventually(there, f"{name} is {mode}", seconds, every=0.05)

    async def replicas(self, replicas: int, name: str = "writer", seconds: float = 30.0) -> None:
        """Wait until a Deployment is to have a number of replicas."""

        async def there() -> bool:
            try:
                return bool((await self.deployment(name))["spec"]["replicas"] == replicas)
            except ApiError:
                return False

        await eventually(there, f"{name} at {replicas} replicas", seconds, every=0.05)

    async def mirror(self, replicas: int, name: str = "writer") -> None:
        """Wait until ``spec.replicas`` has the operator's number: nothing, for a pool at zero."""

        async def there() -> bool:
            item = await self.agent(name)
            note = item["metadata"].get("annotations", {}).get("arkonis.dev/autoscaled-replicas")
            if replicas:
                return bool(item["spec"].get("replicas") == replicas and note == str(replicas))
            return "mode" in item.get("status", {}) and "replicas" not in item["spec"] and note is None

        await eventually(there, f"{name} mirrors {replicas}", every=0.05)


@asynccontextmanager
async def world(control_plane: ControlPlane) -> AsyncIterator[World]:
    """Make a namespace with the operator's rights in it."""
    namespace = f"op-{uuid.uuid4().hex[:8]}"
    objects = [manifests.namespace(namespace), *operator_manifests.rbac(namespace, only=True)]
    await asyncio.to_thread(control_plane.kubectl.apply, objects)
    async with api.connect(control_plane.admin) as connected:
        yield World(control_plane, connected, namespace)


def settings_of(world: World, kubeconfig: Path | None = None, **settings: Any) -> OperatorSettings:
    """Return settings for an operator of a test's namespace."""
    values: dict[str, Any] = {
        "image": "ark:test",
        "kubeconfig": kubeconfig or world.control_plane.kubeconfig_for(operator_manifests.user(world.namespace)),
        "namespace": world.namespace,
        "watch_namespace": world.namespace,
        "host": "127.0.0.1",
        "http_port": 0,
        "redis": _CLOSED_REDIS,
        "status_seconds": 0.5,
        **_STEADY,
        **settings,
    }
    return OperatorSettings(_cli_parse_args=[], **values)


@asynccontextmanager
async def operating(
    world: World, usage: Callable[[Key], TokenUsage | None] | None = None, *, ledgers: bool = False, **settings: Any
) -> AsyncIterator[tuple[Replica, int]]:
    """Run an operator in the test's namespace while the context is open; gives it and its HTTP port.

    Its token usage is `usage`'s or the world's, unless it is to read the ledgers.
    """
    known = None if ledgers else usage or (lambda key: world.usage.get(key[1]))
    async with running(settings_of(world, **settings), known) as (operator, port), asyncio.TaskGroup() as group:
        work = group.create_task(operator.run())
        try:
            yield operator, port
        finally:
            work.cancel()


def queue_of(world: World, name: str = "writer") -> QueueKeys:
    """Return an agent's queue."""
    return QueueKeys.for_agent(world.namespace, name)


def exceeded(until: datetime | None = None) -> TokenUsage:
    """Return a usage that leaves no room for a call."""
    return TokenUsage(600, 400, 0, True, until or datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC))


WITHIN = TokenUsage(60, 40, 0, False, None)
