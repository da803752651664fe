"""The node itself: takes Pods, runs them, and lets them go."""

from __future__ import annotations

import asyncio
import functools
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog

from hack.cluster.addresses import Block
from hack.cluster.api import NODES, PODS, SERVICES, ApiError, ApiUnavailable
from hack.cluster.node import kubelet
from hack.cluster.node.pod import Cluster, PodProcesses
from hack.cluster.node.services import Endpoint, ServiceProxy
from hack.cluster.node.status import timestamp

Object = dict[str, Any]

NAME = "process-node"
_HOST = "127.0.0.1"
_RETRY_SECONDS = 1.0
_MOST_PODS = 500
_SCHEDULER = "default-scheduler"
"""Pods for another scheduler stay pending, as everywhere."""
_DEFAULT_GRACE_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Ports:
    """Ports of loopback."""

    node: int
    """The node's own endpoint."""
    kubelet: int
    """The endpoint before it, which also forwards ports."""


@dataclass(slots=True)
class _Entry:
    processes: PodProcesses
    running: asyncio.Task[None]
    ending: asyncio.Task[None] | None = None


class ProcessNode:
    """Runs the Pods of a cluster as local processes.

    Args:
        cluster: whose Pods it runs.
        block: where Pods' addresses come from.
        folder: gets a folder for each Pod.
        ports: where its own endpoint is, and the one that the API server is to call.
        tls: the server's side of its own endpoint.
    """

    def __init__(self, cluster: Cluster, block: Block, folder: Path, ports: Ports, tls: ssl.SSLContext) -> None:
        self._cluster = cluster
        self._api = cluster.api
        self._block = block
        self._folder = folder
        self._ports = ports
        self._tls = tls
        self._entries: dict[str, _Entry] = {}
        """By the Pod's uid."""
        self._taken = 0
        self._services = ServiceProxy(self._endpoints)
        self._log = structlog.get_logger(component="node")

    async def run(self) -> None:
        """Run until cancelled, then end every process."""
        async with kubelet.serving(_HOST, self._ports.node, self._tls, self._log_file, self._address):
            await self._register(self._ports.kubelet)
            self._log.info("node is ready", port=self._ports.kubelet)
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._follow_services())
                    await self._follow_pods(group)
            finally:
                for entry in self._entries.values():
                    entry.processes.kill()
                await self._services.close()

    async def _register(self, port: int) -> None:
        body = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": NAME, "labels": {"kubernetes.io/hostname": NAME, "kubernetes.io/os": "linux"}},
        }
        await self._api.patch(NODES.path(name=NAME), body, "apply")
        capacity = {"cpu": "1000", "memory": "1000Gi", "pods": str(_MOST_PODS)}
        now = timestamp(datetime.now(UTC))
        status = {
            "capacity": capacity,
            "allocatable": capacity,
            "addresses": [{"type": "InternalIP", "address": _HOST}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
            "nodeInfo": {
                "kubeletVersion": NAME,
                "operatingSystem": "linux",
                "containerRuntimeVersion": "processes://1",
            },
            "conditions": [
                {"type": "Ready", "status": "True", "reason": "NodeReady", "lastTransitionTime": now},
            ],
        }
        await self._api.patch(NODES.path(name=NAME, subresource="status"), {"status": status})

    # Pods

    async def _follow_pods(self, group: asyncio.TaskGroup) -> None:
        async for event in self._api.watch(PODS.path()):
            pod = event.object
            if event.type == "DELETED":
                self._gone(pod)
            elif not pod["spec"].get("nodeName"):
                group.create_task(self._bind(pod))
            elif pod["spec"]["nodeName"] == NAME:
                self._update(pod, group)

    async def _bind(self, pod: Object) -> None:
        """Do what a scheduler does; the Pod comes back with this node's name."""
        metadata = pod["metadata"]
        if metadata.get("deletionTimestamp") or pod["spec"].get("schedulerName", _SCHEDULER) != _SCHEDULER:
            return
        binding = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": metadata["name"]},
            "target": {"apiVersion": "v1", "kind": "Node", "name": NAME},
        }
        log = self._log.bind(namespace=metadata["namespace"], pod=metadata["name"])
        while True:
            try:
                await self._api.create(PODS.path(metadata["namespace"], metadata["name"], "binding"), binding)
            except ApiError as error:
                log.info("pod is bound already, or gone", error=str(error))
                return
            except ApiUnavailable as error:
                log.warning("pod cannot be bound, trying again", error=str(error))
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                return

    def _update(self, pod: Object, group: asyncio.TaskGroup) -> None:
        metadata = pod["metadata"]
        entry = self._entries.get(metadata["uid"])
        if entry is None:
            if pod.get("status", {}).get("phase") in ("Succeeded", "Failed"):
                return  # it was over before this node started
            entry = self._take(pod, group)
        entry.processes.pod = pod
        if metadata.get("deletionTimestamp") and entry.ending is None:
            grace = metadata.get("deletionGracePeriodSeconds", _DEFAULT_GRACE_SECONDS)
            entry.ending = group.create_task(entry.processes.terminate(grace))

    def _take(self, pod: Object, group: asyncio.TaskGroup) -> _Entry:
        self._taken += 1
        metadata = pod["metadata"]
        folder = self._folder / f"{metadata['namespace']}_{metadata['name'][:150]}_{metadata['uid'][:8]}"
        links = functools.partial(self._services.links, metadata["namespace"])
        processes = PodProcesses(self._cluster, pod, self._block.pod(self._taken), folder, links)
        entry = _Entry(processes, group.create_task(processes.run()))
        self._entries[metadata["uid"]] = entry
        self._log.info("pod taken", namespace=metadata["namespace"], pod=metadata["name"], ip=processes.ip)
        return entry

    def _gone(self, pod: Object) -> None:
        """The Pod is no more in the API: removed by this node, or by force."""
        entry = self._entries.pop(pod["metadata"]["uid"], None)
        if entry is not None:
            entry.processes.kill()
            entry.running.cancel()

    def _find(self, namespace: str, name: str) -> PodProcesses | None:
        for entry in self._entries.values():
            metadata = entry.processes.pod["metadata"]
            if (metadata["namespace"], metadata["name"]) == (namespace, name):
                return entry.processes
        return None

    def _address(self, namespace: str, name: str) -> str | None:
        processes = self._find(namespace, name)
        return None if processes is None else processes.ip

    def _log_file(self, namespace: str, name: str, container: str) -> kubelet.LogFile | None:
        processes = self._find(namespace, name)
        return None if processes is None else self._log_of(processes, container)

    def _log_of(self, processes: PodProcesses, container: str) -> kubelet.LogFile:
        uid = processes.pod["metadata"]["uid"]
        return kubelet.LogFile(
            processes.log_file(container), over=lambda: uid not in self._entries or processes.is_over(container)
        )

    # Services

    async def _follow_services(self) -> None:
        async for event in self._api.watch(SERVICES.path()):
            if event.type == "DELETED":
                self._services.remove(event.object)
            else:
                await self._services.update(event.object)

    def _endpoints(self, namespace: str) -> Iterable[Endpoint]:
        for entry in self._entries.values():
            processes = entry.processes
            if processes.pod["metadata"]["namespace"] == namespace:
                yield Endpoint(
                    processes.ip,
                    processes.labels,
                    _named_ports(processes.pod),
                    ready=processes.ready,
                    terminating=entry.ending is not None,
                )


def _named_ports(pod: Object) -> dict[str, int]:
    return {
        port["name"]: port["containerPort"]
        for container in pod["spec"]["containers"]
        for port in container.get("ports", [])
        if "name" in port
    }
