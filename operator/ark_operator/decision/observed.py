"""What the operator knows when it decides: an agent's children, its queue, its tokens, and KEDA's state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ark_kube.objects import Object
from ark_sizing.choice import Sizing
from ark_taskqueue.tasks.depth import Depth


@dataclass(frozen=True, slots=True)
class Keda:
    """The state of KEDA in the cluster."""

    installed: bool = True
    """Whether the API server knows ScaledObjects."""
    down: str = ""
    """Why its operator counts as not running; empty where it runs, or nobody knows."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """The API server does not take a child as it should be."""

    message: str
    taken: bool = False
    """Whether an object of that name is somebody else's."""


@dataclass(frozen=True, slots=True)
class Observed:
    """What is there."""

    deployment: Object | None = None
    """The Deployment of the agent's name, whoever owns it."""
    scaled_object: Object | None = None
    """The ScaledObject of the agent's name, whoever owns it."""
    others: tuple[str, ...] = ()
    """Autoscalers of somebody else on the Deployment, as ``kind name``."""
    keda: Keda = field(default_factory=Keda)
    depth: Depth | None = None
    """The queue's, as fresh as a burst needs it; None where it is not."""
    shown_depth: Depth | None = None
    """The queue's, for the status; None where it was never read."""
    start_seconds: float | None = None
    """How long the pool's Pods take to start, seconds; None until one was seen starting."""
    sizing: Sizing | None = None
    """What the record of the queue's demand asks for; None where nobody has looked lately."""
    refusals: Mapping[str, Refusal] = field(default_factory=dict)
    """By kind, what the API server has refused in this reconcile."""
    applied: frozenset[str] = frozenset()
    """Kinds that were put right in this reconcile, once is enough: what then still differs, the API server rewrites."""
