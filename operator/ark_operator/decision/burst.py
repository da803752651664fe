"""How many replicas the horizontal pod autoscaler would ask for, so that the operator can ask for them at once.

The rules are those of the HPA controller for an external metric with an average value (pkg/controller/podautoscaler,
``GetExternalPerPodMetricReplicas``, Kubernetes 1.36): nothing changes while the metric is within 10 % of what the
present replicas are for, else ``ceil(metric / target)``. KEDA hands the metric on in thousandths.
"""

from __future__ import annotations

import math

from ark_api.agent import Autoscaling
from ark_taskqueue.tasks.depth import Depth

_TOLERANCE = 0.1


def burst_replicas(autoscaling: Autoscaling, depth: Depth, spec_replicas: int, status_replicas: int) -> int | None:
    """Return the number to raise the pool to; None where it is to be left alone.

    Args:
        autoscaling: the agent's block.
        depth: of its queue.
        spec_replicas: what the Deployment is asked to have; from 0 only KEDA raises it.
        status_replicas: what it has, by which the tolerance goes.
    """
    if not is_allowed(autoscaling) or spec_replicas == 0:
        return None
    thousandths = int(depth.slots(autoscaling.target_wait_seconds) * 1000)
    target = autoscaling.tasks_per_replica * 1000
    asked = math.ceil(thousandths / target)
    if status_replicas > 0 and 1.0 - _TOLERANCE <= thousandths / (target * status_replicas) <= 1.0 + _TOLERANCE:
        asked = status_replicas
    wanted = min(asked, autoscaling.max_replicas)
    return wanted if wanted > spec_replicas else None


def is_allowed(autoscaling: Autoscaling) -> bool:
    """Return whether the operator may raise the pool at all: a scale-up rule of the user's own is the user's."""
    return autoscaling.burst and "scaleUp" not in autoscaling.behavior
