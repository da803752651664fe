"""How many replicas the horizontal pod autoscaler would ask for, so that the operator can ask for them at once.

The rules are those of the HPA controller for an external metric with an average value (pkg/controller/podautoscaler,
``GetExternalPerPodMetricReplicas``, Kubernetes 1.36): nothing changes while the metric is within 10 % of what the
present replicas are for, else ``ceil(metric / target)``. KEDA hands the metric on in thousandths.
"""

from __future__ import annotations

import math

from ark_api.agent import Autoscaling
from ark_operator.decision.agent import Agent
from ark_sizing.in_force import setting_of
from ark_sizing.setting import with_reserve
from ark_taskqueue.tasks.depth import Depth

_TOLERANCE = 0.1


def burst_replicas(agent: Agent, depth: Depth, spec_replicas: int, status_replicas: int) -> int | None:
    """Return the number to raise the pool to; None where it is to be left alone.

    What stays warm whatever there is to do is the HPA's: it changes by the minute, and calls for no haste.

    Args:
        agent: the agent, with the sizing that its status has.
        depth: of its queue.
        spec_replicas: what the Deployment is asked to have; from 0 only KEDA raises it.
        status_replicas: what it has, by which the tolerance goes.
    """
    autoscaling = agent.autoscaling
    if autoscaling is None or not is_allowed(autoscaling) or spec_replicas == 0:
        return None
    setting = setting_of(agent)
    thousandths = int(with_reserve(depth.slots(setting.target_wait_seconds), setting.reserve) * 1000)
    target = (setting.tasks_per_replica or agent.limits.concurrent_tasks) * 1000
    asked = math.ceil(thousandths / target)
    if status_replicas > 0 and 1.0 - _TOLERANCE <= thousandths / (target * status_replicas) <= 1.0 + _TOLERANCE:
        asked = status_replicas
    wanted = min(asked, autoscaling.max_replicas)
    return wanted if wanted > spec_replicas else None


def is_allowed(autoscaling: Autoscaling) -> bool:
    """Return whether the operator may raise the pool at all: a scale-up rule of the user's own is the user's."""
    return autoscaling.burst and "scaleUp" not in autoscaling.behavior
