"""One Pod: its references, volumes and containers, its status, and its end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import structlog

from hack.cluster.api import (
    CONFIG_MAPS,
    EVENTS,
    PODS,
    SECRETS,
    SERVICE_ACCOUNTS,
    Api,
    ApiError,
    ApiUnavailable,
    Resource,
)
from hack.cluster.certificates import kubeconfig
from hack.cluster.node import unsupported, volumes
from hack.cluster.node.command import command_line, relocated
from hack.cluster.node.container import Container, Recipe
from hack.cluster.node.environment import MissingReference, Sources, decoded, environment, referred
from hack.cluster.node.status import Terminated, pod_status, timestamp

Object = dict[str, Any]

_RETRY_SECONDS = 2.0
_TOKEN_SECONDS = 86_400
_NOT_FOUND = 404
_CONFLICT = 409


class Cluster:
    """What Pods need to know of their cluster.

    Args:
        api: the API server, with the node's rights.
        server: its URL, for Pods that talk to it.
        authority: PEM file of the CA that it is verified with.
    """

    def __init__(self, api: Api, server: str, authority: Path) -> None:
        self.api = api
        self.server = server
        self.authority = authority

    @property
    def variables(self) -> dict[str, str]:
        """What every Pod is told of the API server, whatever its ``enableServiceLinks``."""
        url = urlsplit(self.server)
        return {"KUBERNETES_SERVICE_HOST": url.hostname or "", "KUBERNETES_SERVICE_PORT": str(url.port or 443)}


class PodProcesses:
    """A Pod on this node.

    Args:
        cluster: where it belongs.
        pod: the object, as it was when the node took it.
        ip: its address.
        folder: gets volumes and logs.
        service_links: answers the variables that tell of its namespace's Services.
    """

    def __init__(
        self, cluster: Cluster, pod: Object, ip: str, folder: Path, service_links: Callable[[], dict[str, str]]
    ) -> None:
        self._service_links = service_links
        self.pod = pod
        self.ip = ip
        self.folder = folder
        self._cluster = cluster
        self._api = cluster.api
        self._began = datetime.now(UTC)
        self._ready_since: datetime | None = None
        self._dirty = asyncio.Event()
        policy = pod["spec"].get("restartPolicy", "Always")
        self._restart_policy = policy
        self._containers = [Container(spec, policy, ip, self._dirty.set) for spec in pod["spec"]["containers"]]
        self._written: Object | None = None
        self._held_for: str | None = None
        self._log = structlog.get_logger(component="pod").bind(
            namespace=pod["metadata"]["namespace"], pod=pod["metadata"]["name"]
        )

    @property
    def path(self) -> str:
        """Its path in the API."""
        return PODS.path(self.pod["metadata"]["namespace"], self.pod["metadata"]["name"])

    @property
    def labels(self) -> dict[str, str]:
        """Its labels."""
        return self.pod["metadata"].get("labels") or {}

    @property
    def ready(self) -> bool:
        """Whether all of its containers are ready."""
        return all(container.view.ready for container in self._containers)

    def log_file(self, container: str) -> Path:
        """Return the log of a container."""
        return self.folder / f"{container}.log"

    def is_over(self, container: str) -> bool:
        """Return whether a container has ended for good."""
        views = (entry.view for entry in self._containers if entry.name == container)
        return all(isinstance(view.state, Terminated) for view in views)

    async def run(self) -> None:
        """Run its containers and keep its status up to date, until cancelled.

        Whatever goes wrong ends this Pod alone, and stands in its status.
        """
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._report())
                recipes = await self._recipes()
                for container, recipe in zip(self._containers, recipes, strict=True):
                    group.create_task(container.run(recipe))
        except* Exception as group_of_errors:  # noqa: BLE001 - the other Pods must not pay for it
            self._log.exception("pod failed")
            self.kill()
            await self._hold("ContainerError", f"{group_of_errors.exceptions[0]!r}")
            await self._write(self._status())

    async def terminate(self, grace_seconds: float) -> None:
        """End its containers within the grace period, then remove the Pod."""
        async with asyncio.TaskGroup() as group:
            for container in self._containers:
                group.create_task(container.stop(grace_seconds))
        await self._write(self._status())  # how the containers ended, for whoever watches
        while True:
            try:
                uid = self.pod["metadata"]["uid"]
                await self._api.delete(self.path, {"gracePeriodSeconds": 0, "preconditions": {"uid": uid}})
            except ApiUnavailable as error:
                self._log.warning("cannot remove the pod, trying again", error=str(error))
                await asyncio.sleep(_RETRY_SECONDS)
            except ApiError as error:
                if error.status != _CONFLICT:  # 409: another Pod of the name is there by now
                    self._log.error("pod cannot be removed", error=str(error))
                return
            else:
                return

    def kill(self) -> None:
        """End its containers at once."""
        for container in self._containers:
            container.kill()

    async def _recipes(self) -> list[Recipe]:
        """Prepare all containers; while something is missing, say so and try again."""
        while True:
            try:
                unsupported.check(self.pod)
                return await self._prepare()
            except unsupported.Unsupported as error:
                await self._hold("CreateContainerError", str(error))
                await asyncio.Event().wait()  # nothing but a new Pod changes that
            except (MissingReference, ApiError) as error:
                await self._hold("CreateContainerConfigError", str(error))
            except ApiUnavailable as error:
                self._log.warning("cannot prepare the pod, trying again", error=str(error))
            except Exception as error:  # noqa: BLE001 - whatever a Pod may contain
                await self._hold("CreateContainerError", f"the process node cannot prepare this Pod: {error!r}")
            await asyncio.sleep(_RETRY_SECONDS)

    async def _hold(self, reason: str, message: str) -> None:
        """Say why the Pod cannot start: in its status, and once for each reason as an event."""
        for container in self._containers:
            container.hold(reason, message)
        if message == self._held_for:
            return
        self._held_for = message
        self._log.warning("pod cannot start", reason=reason, error=message)
        try:
            await self._api.create(EVENTS.path(self.pod["metadata"]["namespace"]), self._event(message))
        except (ApiError, ApiUnavailable) as error:
            self._log.warning("event cannot be written", error=str(error))

    def _event(self, message: str) -> Object:
        metadata = self.pod["metadata"]
        now = timestamp(datetime.now(UTC))
        reference = {key: metadata[key] for key in ("namespace", "name", "uid")}
        return {
            "metadata": {"generateName": f"{metadata['name']}.", "namespace": metadata["namespace"]},
            "involvedObject": {"apiVersion": "v1", "kind": "Pod", **reference},
            "type": "Warning",
            "reason": "Failed",
            "message": message,
            "source": {"component": "process-node"},
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }

    async def _prepare(self) -> list[Recipe]:
        secrets, config_maps = referred(self.pod)
        sources = Sources(await self._read(SECRETS, secrets), await self._read(CONFIG_MAPS, config_maps))
        self.folder.mkdir(parents=True, exist_ok=True)
        folders = volumes.write(self.pod, self.ip, sources, self.folder / "volumes")
        given = {**self._cluster.variables, **await self._account_variables()}
        if self.pod["spec"].get("enableServiceLinks", True):
            given |= self._service_links()
        recipes = []
        for spec in self.pod["spec"]["containers"]:
            variables = environment(spec, self.pod, self.ip, sources, given)
            mounted = volumes.mounts(spec, folders)
            command = command_line(spec, self.ip, variables, mounted)
            moved = {
                name: value if value == given.get(name) else relocated(value, mounted)
                for name, value in variables.items()
            }
            recipes.append(Recipe(command, moved, mounted, self.folder, self.log_file(spec["name"])))
        return recipes

    async def _read(self, kind: Resource, names: set[str]) -> dict[str, dict[str, bytes]]:
        """Read Secrets or ConfigMaps; those that do not exist are left out."""
        found = {}
        for name in sorted(names):
            try:
                found[name] = decoded(await self._api.get(kind.path(self.pod["metadata"]["namespace"], name)))
            except ApiError as error:
                if error.status != _NOT_FOUND:
                    raise
        return found

    async def _account_variables(self) -> dict[str, str]:
        """Give a Pod with a ServiceAccount a kubeconfig that has exactly its rights."""
        spec = self.pod["spec"]
        account = spec.get("serviceAccountName")
        if not account or spec.get("automountServiceAccountToken") is False:
            return {}
        namespace = self.pod["metadata"]["namespace"]
        request = {"spec": {"expirationSeconds": _TOKEN_SECONDS}}
        path = SERVICE_ACCOUNTS.path(namespace, account, "token")
        answer = await self._api.create(path, request)
        text = kubeconfig(
            self._cluster.server, self._cluster.authority, token=answer["status"]["token"], namespace=namespace
        )
        file = self.folder / "kubeconfig"
        file.write_text(text)
        file.chmod(0o600)
        return {"KUBECONFIG": str(file)}

    async def _report(self) -> None:
        """Write the status whenever it has changed."""
        while True:
            self._dirty.clear()
            if self.ready != (self._ready_since is not None):
                self._ready_since = datetime.now(UTC) if self.ready else None
            status = self._status()
            if status != self._written:
                await self._write(status)
            await self._dirty.wait()

    def _status(self) -> Object:
        views = [container.view for container in self._containers]
        return pod_status(views, self._restart_policy, self.ip, self._began, self._ready_since)

    async def _write(self, status: Object) -> None:
        try:
            await self._api.patch(f"{self.path}/status", {"status": status})
        except ApiError as error:
            self._log.info("status cannot be written", error=str(error))  # the Pod is gone, or about to be
        except ApiUnavailable as error:
            self._log.warning("status cannot be written, trying again", error=str(error))
            await asyncio.sleep(_RETRY_SECONDS)
            self._dirty.set()
        else:
            self._written = status
