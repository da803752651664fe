"""Events: what ``kubectl describe`` tells of an object.

Each has a name that follows from what it is about, so an event that is posted again after a crash is posted once.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Literal

import structlog

from ark_kube.client import Client
from ark_kube.errors import ApiError, ApiUnavailable
from ark_kube.objects import Object, Resource

EVENTS = Resource("v1", "events")
_CONFLICT = 409
_LONGEST_NAME = 200
_LONGEST_MESSAGE = 1000
"""The API server refuses more than 1,024 bytes."""


class Events:
    """Posts the events of one component.

    Args:
        client: the API server.
        component: shown as where the event is from.
        instance: this process, unlike any other of the component.
    """

    def __init__(self, client: Client, component: str, instance: str) -> None:
        self._client = client
        self._component = component
        self._instance = instance
        self._log = structlog.get_logger(component="events")

    async def post(
        self, about: Object, kind: Literal["Normal", "Warning"], reason: str, message: str, occasion: str
    ) -> None:
        """Post an event; one that cannot be posted is logged, since nothing depends on it.

        Args:
            about: the object.
            kind: Warning where a person may want to do something.
            reason: one word, for programs.
            message: for people.
            occasion: what it is about, unlike any other event's of the object and reason.
        """
        metadata = about["metadata"]
        text = f"{metadata['uid']} {reason} {occasion}"
        mark = hashlib.sha256(text.encode()).hexdigest()[:16]
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        event = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"namespace": metadata["namespace"], "name": f"{metadata['name'][:_LONGEST_NAME]}.{mark}"},
            "involvedObject": {
                "apiVersion": about["apiVersion"],
                "kind": about["kind"],
                "namespace": metadata["namespace"],
                "name": metadata["name"],
                "uid": metadata["uid"],
                "resourceVersion": metadata["resourceVersion"],
            },
            "type": kind,
            "reason": reason,
            "message": message[:_LONGEST_MESSAGE],
            "source": {"component": self._component},
            "reportingComponent": self._component,
            "reportingInstance": self._instance,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
        try:
            await self._client.create(EVENTS.path(metadata["namespace"]), event)
        except ApiError as error:
            if error.status != _CONFLICT:
                self._log.warning("event is refused", reason=reason, error=str(error))
        except ApiUnavailable as error:
            self._log.warning("event cannot be posted", reason=reason, error=str(error))
