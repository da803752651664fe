"""What a Pod may ask for that the process node does not do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_VOLUMES = frozenset({"secret", "configMap", "emptyDir", "downwardAPI", "projected"})
_PROBES = ("startupProbe", "readinessProbe", "livenessProbe")
_HANDLERS = frozenset({"httpGet", "tcpSocket", "exec"})


class Unsupported(Exception):
    """A Pod cannot run here; the message names the field."""


def check(pod: dict[str, Any]) -> None:
    """Refuse a Pod that needs what this node does not do.

    Raises:
        Unsupported: it does.
    """
    for problem in _problems(pod["spec"]):
        raise Unsupported(f"the process node cannot run this Pod: {problem}")


def _problems(spec: dict[str, Any]) -> Iterator[str]:
    if spec.get("initContainers"):
        yield "spec.initContainers is not supported"
    for volume in spec.get("volumes", []):
        yield from _of_volume(volume)
    for container in spec["containers"]:
        yield from _of_container(container)


def _of_volume(volume: dict[str, Any]) -> Iterator[str]:
    name = volume["name"]
    parts = [volume, *volume.get("projected", {}).get("sources", [])]
    if not _VOLUMES & volume.keys():
        yield f"volume {name!r} is none of {', '.join(sorted(_VOLUMES))}"
    if any("serviceAccountToken" in part for part in parts):
        yield f"volume {name!r} has a serviceAccountToken; the token is in the file that KUBECONFIG names"
    if any("resourceFieldRef" in item for part in parts for item in part.get("downwardAPI", {}).get("items", [])):
        yield f"volume {name!r} has a resourceFieldRef"


def _of_container(container: dict[str, Any]) -> Iterator[str]:
    name = container["name"]
    if not container.get("command"):
        yield f"container {name!r} has no command, and there is no image that has one"
    if any("subPathExpr" in mount for mount in container.get("volumeMounts", [])):
        yield f"container {name!r} has a subPathExpr"
    if container.get("lifecycle"):
        yield f"container {name!r} has lifecycle hooks"
    for probe in _PROBES:
        if probe in container and not _HANDLERS & container[probe].keys():
            yield f"container {name!r}: {probe} is none of {', '.join(sorted(_HANDLERS))}"
