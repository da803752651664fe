"""What there is to say of a pool in numbers, for metrics. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ark_api.status import Mode
from ark_kube.objects import Object
from ark_operator.decision.agent import Agent
from ark_taskqueue.errors import InvalidQueueName
from ark_taskqueue.tasks.depth import Depth


@dataclass(frozen=True, slots=True)
class Pool:
    """One agent's pool."""

    namespace: str
    agent: str
    mode: Mode
    wanted: int
    """Replicas that its Deployment is to have."""
    ready: int
    greatest: int
    """Replicas that it may have: autoscaling.maxReplicas; what is wanted, without autoscaling."""
    slots: int
    """Tasks that one replica works on at a time."""
    queue: str
    """Its queue's name; empty where the agent names an impossible one."""
    depth: Depth | None
    """Its queue's, None where it was not read."""
    dead_letters: int | None
    """Tasks of its queue that failed for good, None where they were not counted."""
    sizing: Mapping[str, Any] = field(default_factory=dict)
    """As its status has it."""

    @property
    def capacity(self) -> int:
        """Tasks that the ready replicas work on at a time."""
        return self.ready * self.slots


def pool_of(
    agent: Agent, mode: Mode, deployment: Object | None, depth: Depth | None, dead_letters: int | None = None
) -> Pool:
    """Return an agent's pool.

    Args:
        agent: the agent.
        mode: who sets its size.
        deployment: its Deployment; None where there is none.
        depth: its queue's; None where it is not known.
        dead_letters: its queue's; None where they are not known.
    """
    spec: Mapping[str, Any] = (deployment or {}).get("spec") or {}
    status: Mapping[str, Any] = (deployment or {}).get("status") or {}
    wanted = 0 if deployment is None else int(spec.get("replicas", 1))
    greatest = wanted if agent.autoscaling is None else agent.autoscaling.max_replicas
    ready = int(status.get("readyReplicas") or 0)
    slots = agent.limits.concurrent_tasks
    try:
        queue = agent.queue.name
    except InvalidQueueName:
        queue = ""
    sizing: Mapping[str, Any] = agent.status.get("sizing") or {}
    return Pool(agent.namespace, agent.name, mode, wanted, ready, greatest, slots, queue, depth, dead_letters, sizing)
