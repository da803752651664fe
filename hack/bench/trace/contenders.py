"""Who scales the pool: each as objects for the cluster."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from ark_api.agent import ADAPTIVE, default_tasks_per_replica
from ark_api.agent import FIXED as FIXED_SIZING
from ark_sizing.setting import FIXED, TUNED_REDIS_STREAMS, Setting
from ark_taskqueue import QueueKeys
from hack.cluster import manifests, operator_manifests
from hack.cluster.manifests import Object, Scaling

NAMESPACE = "bench"
AGENT = "pool"
QUEUE = QueueKeys.for_agent(NAMESPACE, AGENT)
GROUP = "agent-workers"
SLOTS = 5
MAX_REPLICAS = 20
TARGET_WAIT_SECONDS = 30.0
TIMEOUT_SECONDS = 300
"""Of a task; the longest one of the trace takes 192 s."""
_TOKENS = 20_000
"""Of a call; the longest one has some 9,500."""
_POD = Path(__file__).with_name("pod.py")


@dataclass(frozen=True, slots=True)
class Contender:
    """One way to scale the pool."""

    key: str
    name: str
    objects: Callable[[str, Path], list[Object]]
    """Returns what is to be applied, for Redis' ``host:port`` and the nursery's socket; it makes ``pool-agent``."""
    setting: Setting | None
    """The same for the simulation; None where it cannot do it, or the operator chooses it."""
    learns: bool = False
    """Whether the operator chooses the sizing, by the record of what came before the stretch."""


def _ark(sizing: str, target_wait_seconds: float | None = None) -> Callable[[str, Path], list[Object]]:
    def objects(redis: str, nursery: Path) -> list[Object]:  # noqa: ARG001 - the operator tells them
        autoscaling: Object = {"maxReplicas": MAX_REPLICAS, "sizing": sizing}
        if target_wait_seconds is not None:
            autoscaling["targetWaitSeconds"] = target_wait_seconds
        limits = {
            "maxConcurrentTasks": SLOTS,
            "timeoutSeconds": TIMEOUT_SECONDS,
            "maxTokensPerCall": _TOKENS,
        }
        # This machine's /tmp: nursery and program may lie there.
        no_volume = {"mountPath": "/tmp", "$patch": "delete"}  # noqa: S108
        container = {"name": "agent", "command": _command(nursery), "volumeMounts": [no_volume]}
        spec = {
            "model": "echo",
            "systemPrompt": "p",
            "limits": limits,
            "autoscaling": autoscaling,
            "template": {"spec": {"containers": [container]}},
        }
        return [operator_manifests.agent(NAMESPACE, AGENT, **spec)]

    return objects


def _command(nursery: Path) -> list[str]:
    return [sys.executable, "-I", "-S", str(_POD), str(nursery)]


def _workers(redis: str, nursery: Path) -> Object:
    made = manifests.workers(
        NAMESPACE, AGENT, f"redis://{redis}/0", slots=SLOTS, grace_seconds=TIMEOUT_SECONDS, queue=QUEUE.name
    )
    [container] = made["spec"]["template"]["spec"]["containers"]
    container["command"] = _command(nursery)
    container["env"] += [
        {"name": "AGENT_MAX_TOKENS", "value": str(_TOKENS)},
        {"name": "AGENT_TIMEOUT_SECONDS", "value": str(TIMEOUT_SECONDS)},
    ]
    return made


def _redis_streams(redis: str, nursery: Path) -> list[Object]:
    """What the documentation of the scaler begins with: lagCount, and nothing else."""
    trigger = manifests.redis_streams_trigger(redis, QUEUE.stream, GROUP, lagCount=str(SLOTS))
    scaled = manifests.scaled_object(NAMESPACE, AGENT, [trigger], Scaling(max_replicas=MAX_REPLICAS, scale_up=None))
    return [_workers(redis, nursery), scaled]


def _redis_streams_tuned(redis: str, nursery: Path) -> list[Object]:
    """What it can do at best: waiting and pending added up, often looked at, raised as fast as ours."""
    pending = manifests.redis_streams_trigger(redis, QUEUE.stream, GROUP, pendingEntriesCount=str(SLOTS))
    lag = manifests.redis_streams_trigger(redis, QUEUE.stream, GROUP, lagCount=str(SLOTS))
    triggers = [{**pending, "name": "pending"}, {**lag, "name": "lag"}]
    scaled = manifests.scaled_object(NAMESPACE, AGENT, triggers, Scaling(max_replicas=MAX_REPLICAS, polling_seconds=5))
    scaled["spec"]["advanced"]["scalingModifiers"] = {
        "formula": "pending + lag",
        "target": str(SLOTS),
        "activationTarget": "0",
        "metricType": "AverageValue",
    }
    return [_workers(redis, nursery), scaled]


CONTENDERS = (
    Contender("ark-adaptive", "ark, Adaptive", _ark(ADAPTIVE), None, learns=True),
    Contender(
        "ark",
        "ark, Fixed",
        _ark(FIXED_SIZING),
        replace(FIXED, tasks_per_replica=default_tasks_per_replica(SLOTS, None)),
    ),
    Contender(
        "ark-wait",
        "ark, Fixed, targetWaitSeconds",
        _ark(FIXED_SIZING, TARGET_WAIT_SECONDS),
        replace(FIXED, target_wait_seconds=TARGET_WAIT_SECONDS),
    ),
    Contender("keda", "redis-streams", _redis_streams, None),
    Contender("keda-tuned", "redis-streams, tuned", _redis_streams_tuned, TUNED_REDIS_STREAMS),
)
