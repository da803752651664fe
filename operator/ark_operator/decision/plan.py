"""What is to be done about an agent: the outcome of a decision, without any I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ark_api.status import EventReason, Mode
from ark_kube.objects import Object


@dataclass(frozen=True, slots=True)
class Mirror:
    """Write the Deployment's number into ``spec.replicas``, unless somebody was faster."""

    before: int | None
    replicas: int | None
    """0: leave the field empty. None: only forget which number was the operator's, so that whatever a person sets next
    is a person's."""
    forget_end: bool = False
    """Whether to forget when a person's number ends: it has ended, or there is another one."""


@dataclass(frozen=True, slots=True)
class Scale:
    """Set the Deployment's replicas."""

    replicas: int
    burst: bool = False
    """Whether this is done ahead of the HPA."""


@dataclass(frozen=True, slots=True)
class Note:
    """An event to post."""

    type: Literal["Normal", "Warning"]
    reason: EventReason
    message: str
    occasion: str
    """What it is about, unlike any other event's of that reason: said twice, it is posted once."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done; everything None or empty where all is as it should be."""

    mode: Mode
    create: Object | None = None
    """Deployment to make, with its replicas."""
    apply: Object | None = None
    """Deployment to put right, without them."""
    scale: Scale | None = None
    autoscale: Object | None = None
    """ScaledObject to make or put right."""
    stop_autoscaling: str | None = None
    """uid of the ScaledObject to delete."""
    mirror: Mirror | None = None
    status: Object | None = None
    """The whole status, where it differs."""
    yields: Object | None = None
    """Condition to write instead of anything else, where another operator looks after the agent; empty where it stands
    there already."""
    notes: tuple[Note, ...] = ()
    """Events of the new status."""
    burst_note: Note | None = None
    """Event of the burst that `scale` is, once it has been carried out."""
    again_after: float | None = None
    """Seconds after which to decide again though nothing has changed."""

    @property
    def changes_children(self) -> bool:
        """Whether anything but status and events is to be written."""
        return any((self.create, self.apply, self.scale, self.autoscale, self.stop_autoscaling, self.mirror))
