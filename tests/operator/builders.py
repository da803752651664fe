"""Objects for tests, as an API server would have them."""

from __future__ import annotations

import hashlib
from typing import Any

from ark_api.names import MIRROR, PIN_END, SEEN_APPLY
from ark_kube.objects import Object
from ark_operator.decision import deployment, scaled_object
from ark_operator.decision.agent import Agent
from ark_operator.decision.options import Options
from ark_taskqueue import Depth

OPTIONS = Options(image="ark:1", scaler_address="scaler:6000", agent_redis={"default": "redis://r:6379/0"})


def agent(
    *,
    mirrored: int | None = None,
    pin_end: str | None = None,
    status: Object | None = None,
    name: str = "writer",
    **spec: Any,
) -> Agent:
    """Return an agent; `mirrored` is the number that the operator wrote into ``spec.replicas``."""
    seen = {SEEN_APPLY: hashlib.sha256(b"").hexdigest()[:16]}
    annotations = {} if mirrored is None else {MIRROR: str(mirrored), **seen}
    if pin_end is not None:
        annotations[PIN_END] = pin_end
    metadata = {"name": name, "namespace": "team", "uid": "u1", "generation": 3, "resourceVersion": "7"}
    return Agent(
        {
            "apiVersion": "arkonis.dev/v1alpha1",
            "kind": "ArkAgent",
            "metadata": {**metadata, "annotations": annotations},
            "spec": {"model": "m", "systemPrompt": "p", **spec},
            **({"status": status} if status is not None else {}),
        }
    )


def its_deployment(of: Agent, replicas: int, **status: Any) -> Object:
    """Return the Deployment as the operator would have it."""
    wanted = deployment.build(of, OPTIONS)
    metadata = {**wanted["metadata"], "generation": 1, "resourceVersion": "8", "uid": "d1"}
    counts = {"replicas": replicas, "readyReplicas": replicas, "updatedReplicas": replicas, "observedGeneration": 1}
    spec = {**wanted["spec"], "replicas": replicas}
    return {**wanted, "metadata": metadata, "spec": spec, "status": {**counts, **status}}


def its_scaled_object(of: Agent, *, paused: bool = False, ready: str | None = "True", message: str = "") -> Object:
    """Return the ScaledObject as the operator would have it, and what KEDA says of it."""
    assert of.autoscaling is not None
    wanted = scaled_object.build(of, of.autoscaling, OPTIONS, paused=paused)
    conditions = [] if ready is None else [{"type": "Ready", "status": ready, "message": message}]
    metadata = {**wanted["metadata"], "uid": "s1", "resourceVersion": "9"}
    return {**wanted, "metadata": metadata, "status": {"conditions": conditions}}


def depth(waiting: int, in_flight: int = 0, service_ms: float | None = None) -> Depth:
    """Return a queue's depth."""
    return Depth(waiting, in_flight, waiting + in_flight, True, 0, service_ms, None)
