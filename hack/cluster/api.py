"""The operator's client of the Kubernetes API for tools and tests: with their kinds, and watches without an end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

from ark_kube.client import Client, Event, transport
from ark_kube.errors import ApiError, ApiUnavailable
from ark_kube.events import EVENTS
from ark_kube.objects import Object, Resource
from ark_operator.cluster.kinds import AUTOSCALERS, DEPLOYMENTS, SCALED_OBJECTS

__all__ = [
    "AUTOSCALERS",
    "DEPLOYMENTS",
    "EVENTS",
    "SCALED_OBJECTS",
    "Api",
    "ApiError",
    "ApiUnavailable",
    "Event",
    "Object",
    "Resource",
    "connect",
]

PODS = Resource("v1", "pods")
NODES = Resource("v1", "nodes", namespaced=False)
SERVICES = Resource("v1", "services")
SECRETS = Resource("v1", "secrets")
CONFIG_MAPS = Resource("v1", "configmaps")
SERVICE_ACCOUNTS = Resource("v1", "serviceaccounts")

_FIELD_MANAGER = "ark-hack"
_PAUSE_SECONDS = 0.5
"""Between a watch that broke and the next."""
_GONE = 410


class Api(Client):
    """One API server."""

    async def watch(self, path: str, **query: str) -> AsyncGenerator[Event, None]:
        """Yield what is there and every change after it, until the caller stops; a broken watch starts anew.

        After a break, what is there comes as added again, and what is gone as deleted. Who stops before being cancelled
        closes it (`contextlib.aclosing`), so that its connection does not outlive the caller.

        Raises:
            ApiError: the list is refused.
        """
        known: dict[str, Object] = {}
        while True:
            try:
                listed = await self.get(path, **query)
                there = {item["metadata"]["uid"]: item for item in listed["items"]}
                for uid in known.keys() - there.keys():
                    yield Event("DELETED", known.pop(uid))
                for uid, item in there.items():
                    known[uid] = item
                    yield Event("ADDED", item)
                async with aclosing(self.changes(path, listed["metadata"]["resourceVersion"], query)) as changes:
                    async for event in changes:
                        if event.type == "BOOKMARK":
                            continue
                        uid = event.object["metadata"]["uid"]
                        if event.type == "DELETED":
                            known.pop(uid, None)
                        else:
                            known[uid] = event.object
                        yield event
            except ApiUnavailable:
                await asyncio.sleep(_PAUSE_SECONDS)
            except ApiError as error:
                if error.status != _GONE:
                    raise
                await asyncio.sleep(_PAUSE_SECONDS)


@asynccontextmanager
async def connect(kubeconfig: Path) -> AsyncIterator[Api]:
    """Talk to the API server of a kubeconfig while the context is open."""
    async with transport(kubeconfig) as client:
        yield Api(client, _FIELD_MANAGER)
