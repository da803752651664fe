"""Builders of Pods that state only what matters."""

from __future__ import annotations

from typing import Any


def pod(*containers: dict[str, Any], **spec: Any) -> dict[str, Any]:
    """Return a Pod as the API gives it."""
    return {
        "metadata": {
            "name": "writer-1",
            "namespace": "default",
            "uid": "4711",
            "labels": {"app": "writer"},
            "annotations": {"team/owner": "a"},
        },
        "spec": {"containers": [*(containers or (container(),))], "nodeName": "process-node", **spec},
    }


def container(**fields: Any) -> dict[str, Any]:
    """Return a container."""
    return {"name": "main", "image": "x", "command": ["true"], **fields}
