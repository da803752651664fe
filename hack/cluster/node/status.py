"""A Pod's status, from what its containers do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Waiting:
    """A container that does not run (yet, or between two starts)."""

    reason: str = "ContainerCreating"
    message: str = ""


@dataclass(frozen=True, slots=True)
class Running:
    """A container that runs."""

    since: datetime


@dataclass(frozen=True, slots=True)
class Terminated:
    """A container that has ended."""

    exit_code: int
    signal: int | None
    began: datetime
    ended: datetime

    @property
    def reason(self) -> str:
        """The reason that kubectl shows."""
        return "Completed" if self.exit_code == 0 else "Error"


State = Waiting | Running | Terminated


@dataclass(frozen=True, slots=True)
class ContainerView:
    """What is to be said of one container."""

    name: str
    image: str
    state: State
    last: Terminated | None = None
    ready: bool = False
    started: bool = False
    restarts: int = 0


def timestamp(moment: datetime) -> str:
    """Return a moment as Kubernetes writes it, to the second."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def pod_status(
    containers: Sequence[ContainerView], restart_policy: str, ip: str, began: datetime, ready_since: datetime | None
) -> dict[str, Any]:
    """Return the status of a Pod.

    Args:
        containers: its containers.
        restart_policy: ``Always``, ``OnFailure`` or ``Never``.
        ip: its address.
        began: when this node took it.
        ready_since: when all of its containers became ready; None while they are not.
    """
    ready = ready_since is not None
    unready = sorted(view.name for view in containers if not view.ready)
    said = {} if ready else {"reason": "ContainersNotReady", "message": f"containers with unready status: {unready}"}
    changed = timestamp(ready_since or began)
    conditions = [
        {"type": "PodScheduled", "status": "True", "lastTransitionTime": timestamp(began)},
        {"type": "Initialized", "status": "True", "lastTransitionTime": timestamp(began)},
        *(
            {"type": kind, "status": "True" if ready else "False", "lastTransitionTime": changed, **said}
            for kind in ("ContainersReady", "Ready")
        ),
    ]
    return {
        "phase": phase(containers, restart_policy),
        "hostIP": "127.0.0.1",
        "podIP": ip,
        "podIPs": [{"ip": ip}],
        "startTime": timestamp(began),
        "conditions": conditions,
        "containerStatuses": [_container_status(view) for view in containers],
    }


def phase(containers: Sequence[ContainerView], restart_policy: str) -> str:
    """Return the phase: Pending until every container has begun, Succeeded or Failed when none will run again."""
    states = [view.state for view in containers]
    if any(isinstance(view.state, Waiting) and view.last is None for view in containers):
        return "Pending"
    ended = [state for state in states if isinstance(state, Terminated)]
    if len(ended) < len(states) or restart_policy == "Always":
        return "Running"
    failed = any(state.exit_code != 0 for state in ended)
    if failed and restart_policy == "OnFailure":
        return "Running"
    return "Failed" if failed else "Succeeded"


def _container_status(view: ContainerView) -> dict[str, Any]:
    return {
        "name": view.name,
        "image": view.image,
        "imageID": "",
        "ready": view.ready,
        "started": view.started,
        "restartCount": view.restarts,
        "state": _state(view.state),
        "lastState": _state(view.last) if view.last else {},
    }


def _state(state: State) -> dict[str, Any]:
    if isinstance(state, Waiting):
        return {"waiting": {"reason": state.reason, "message": state.message}}
    if isinstance(state, Running):
        return {"running": {"startedAt": timestamp(state.since)}}
    ended = {
        "exitCode": state.exit_code,
        "reason": state.reason,
        "startedAt": timestamp(state.began),
        "finishedAt": timestamp(state.ended),
    }
    return {"terminated": ended | ({"signal": state.signal} if state.signal else {})}
