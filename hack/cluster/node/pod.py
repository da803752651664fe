"""One Pod: its references, volumes and containers, its status, and its end."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog

from hack.cluster.api import CONFIG_MAPS, EVENTS, PODS, SECRETS, SERVICE_ACCOUNTS, Api, ApiError, ApiUnavailable, Kind
from hack.cluster.certificates import kubeconfig
from hack.cluster.node import unsupported, volumes
from hack.cluster.node.command import command_line, relocated
from hack.cluster.node.container import Container, Recipe
from hack.cluster.node.environment import MissingReference, Sources, decoded, environment, referred
from hack.cluster.node.status import pod_status, timestamp

Object = dict[str, Any]

_RETRY_SECONDS = 2.0
_TOKEN_SECONDS = 86_400


class Cluster:
    """What Pods need to know of their cluster."""

    def __init__(self, api: Api, server: str, authority: Path) -> None:
        """
        Args:
            api: the API server, with the node's rights.
            server: its URL, for Pods that talk to it.
            authority: PEM file of the CA that it is verified with.
        """
        self.api = api
        self.server = server
        self.authority = authority


class PodProcesses:
    """A Pod on this node."""

    def __init__(self, cluster: Cluster, pod: Object, ip: str, folder: Path) -> None:
        """
        Args:
            cluster: where it belongs.
            pod: the object, as it was when the node took it.
            ip: its address.
            folder: gets volumes and logs.
        """
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

    def log_file(self, container: str | None) -> Path:
        """Answer the log of a container; of the first where none is named."""
        return self.folder / f"{container or self._containers[0].name}.log"

    async def run(self) -> None:
        """Run its containers and keep its status up to date, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._report())
            recipes = await self._recipes()
            for container, recipe in zip(self._containers, recipes, strict=True):
                group.create_task(container.run(recipe))

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
                self._log.info("pod is another's by now", error=str(error))
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
        account = await self._account_variables()
        recipes = []
        for spec in self.pod["spec"]["containers"]:
            variables = account | environment(spec, self.pod, self.ip, sources)
            mounted = volumes.mounts(spec, folders)
            command = command_line(spec, variables, mounted)
            moved = {name: relocated(value, mounted) for name, value in variables.items()}
            recipes.append(Recipe(command, moved, self.folder, self.log_file(spec["name"])))
        return recipes

    async def _read(self, kind: Kind, names: set[str]) -> dict[str, dict[str, bytes]]:
        """Read Secrets or ConfigMaps; those that do not exist are left out."""
        found = {}
        for name in sorted(names):
            try:
                found[name] = decoded(await self._api.get(kind.path(self.pod["metadata"]["namespace"], name)))
            except ApiError as error:
                if error.status != 404:
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
