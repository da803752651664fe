"""What an end-to-end test works with: a namespace with a Redis and a scaler, and pools of workers in it."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from urllib.error import HTTPError
from urllib.request import urlopen

import trustme

from ark_taskqueue import Client, Producer, QueueKeys, Result, connect, read_depth
from hack.cluster import api, manifests, planted
from hack.cluster.access import Access
from hack.cluster.api import DEPLOYMENTS, PODS, SCALED_OBJECTS, SERVICES, Api, ApiError
from hack.cluster.kubectl import KubectlFailed
from hack.cluster.manifests import Object, Scaling
from tests.eventually import eventually

_TLS = "scaler-tls"
_AGENTS_KEYS = "arkonis-api-keys"
_LOOKS_ALONE = 20
"""So often in a row nobody else is connected to Redis, a tenth of a second apart: longer than anybody's pause."""
SYNC_SECONDS = 15.0
"""The HPA's sync period, on the process cluster as everywhere."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What KEDA needs to reach a scaler that asks for certificates; PEM text."""

    authority: str
    certificate: str
    key: str


@dataclass(slots=True)
class Stack:
    """One test's namespace."""

    access: Access
    api: Api
    namespace: str
    redis: Client
    """To the Redis itself, whatever happens to its Service."""
    redis_url: str
    """What Pods reach it by."""
    scaler_address: str
    credentials: Credentials | None = None

    async def apply(self, *objects: Object) -> None:
        """Apply objects."""
        await asyncio.to_thread(self.access.kubectl.apply, objects)

    async def kubectl(self, *arguments: str) -> str:
        """Run kubectl in the namespace."""
        return await asyncio.to_thread(self.access.kubectl.run, "-n", self.namespace, *arguments)

    async def ready(self, deployment: str) -> None:
        """Wait until a Deployment's Pods are all ready."""
        await asyncio.to_thread(self.access.wait_ready, self.namespace, deployment)

    async def pods(self, app: str) -> list[Object]:
        """Return the Pods labelled ``app``."""
        found = await self.api.get(PODS.path(self.namespace), labelSelector=f"app={app}")
        return list(found["items"])

    async def cut_off_redis(self) -> None:
        """Make Redis unreachable for everybody in the cluster; it keeps its data.

        A Service's change takes a moment, and does nothing to open connections: these are broken until none come back.
        """
        await self._select_redis("nobody")
        alone = 0

        async def stays_alone() -> bool:
            nonlocal alone
            killed = await self.redis.execute_command("CLIENT", "KILL", "SKIPME", "yes")
            alone = 0 if killed else alone + 1
            return alone >= _LOOKS_ALONE

        await eventually(stays_alone, "the end of all connections to Redis", every=0.1)

    async def bring_back_redis(self) -> None:
        """Make Redis reachable again."""
        await self._select_redis(manifests.REDIS)

    async def _select_redis(self, app: str) -> None:
        await self.api.patch(SERVICES.path(self.namespace, manifests.REDIS), {"spec": {"selector": {"app": app}}})

    async def kill_scaler(self) -> None:
        """Kill the scaler's Pod without a grace period; its Deployment makes a new one."""
        [pod] = await self.pods(manifests.SCALER)
        await self.kubectl("delete", "pod", pod["metadata"]["name"], "--grace-period=0", "--force", "--wait=true")


@dataclass(slots=True)
class Pool:
    """An agent's workers and how they are scaled."""

    stack: Stack
    agent: str

    @property
    def queue(self) -> QueueKeys:
        """Its queue."""
        return QueueKeys.for_agent(self.stack.namespace, self.agent)

    @property
    def producer(self) -> Producer:
        """Submits to its queue."""
        return Producer(self.stack.redis, self.queue)

    @property
    def path(self) -> str:
        """Its Deployment's path in the API."""
        return DEPLOYMENTS.path(self.stack.namespace, f"{self.agent}-agent")

    async def submit(self, seconds: Sequence[float]) -> list[str]:
        """Submit tasks that take so long each, in one step; return their ids.

        One after the other, a pool may be raised for some of them: to 11 replicas where 12 are wanted, and that is
        within the HPA's tolerance of a tenth.
        """
        pipeline = self.stack.redis.pipeline(transaction=True)
        for latency in seconds:
            meta = json.dumps({"latency_seconds": latency})
            pipeline.xadd(self.queue.stream, {"prompt": planted.PROMPT, "attempt": "1", "meta": meta})
        return [task_id.decode() for task_id in await pipeline.execute()]

    async def results(self, task_ids: Sequence[str], seconds: float = 240.0) -> list[Result]:
        """Wait for the results of tasks."""
        async with asyncio.timeout(seconds):
            return [await self.producer.wait_for_result(task_id) for task_id in task_ids]

    async def demand(self) -> int:
        """Return the queue's demand."""
        return (await read_depth(self.stack.redis, self.queue)).demand

    async def replicas(self) -> int:
        """Return the Deployment's ``spec.replicas``."""
        return int((await self.stack.api.get(self.path))["spec"]["replicas"])

    async def reaches(self, replicas: int, seconds: float = 90.0) -> None:
        """Wait for a number of replicas."""

        async def there() -> bool:
            return await self.replicas() == replicas

        await eventually(there, f"{self.agent} at {replicas} replicas", seconds, every=0.1)

    async def condition(self, kind: str) -> Object:
        """Return a condition of the ScaledObject; an empty one where it has none yet."""
        scaled = await self.stack.api.get(SCALED_OBJECTS.path(self.stack.namespace, self.agent))
        found = [entry for entry in scaled.get("status", {}).get("conditions", []) if entry["type"] == kind]
        return found[0] if found else {}

    async def accepted(self) -> None:
        """Wait until KEDA has taken the ScaledObject and listens for pushes."""

        async def listening() -> bool:
            try:
                scaled = await self.stack.api.get(SCALED_OBJECTS.path(self.stack.namespace, self.agent))
            except ApiError as error:
                if error.status != HTTPStatus.NOT_FOUND:
                    raise
                return False  # the operator is about to make it
            status = scaled.get("status", {})
            ready = [entry["status"] for entry in status.get("conditions", []) if entry["type"] == "Ready"]
            return bool(status.get("externalMetricNames")) and ready == ["True"]

        await eventually(listening, f"ScaledObject {self.agent} taken by KEDA", 60.0, every=0.1)


async def make_pool(
    stack: Stack,
    agent: str,
    scaling: Scaling,
    *,
    replicas: int = 0,
    grace_seconds: int = 25,
    trigger: Object | None = None,
    metadata: Mapping[str, str] | None = None,
) -> Pool:
    """Deploy a pool and the ScaledObject for it."""
    own = {"queue": f"{stack.namespace}/{agent}", "tasksPerReplica": "5", **(metadata or {})}
    pool = Pool(stack, agent)
    await stack.apply(
        manifests.workers(stack.namespace, agent, stack.redis_url, replicas=replicas, grace_seconds=grace_seconds),
        manifests.scaled_object(
            stack.namespace, agent, [trigger or manifests.ark_trigger(stack.scaler_address, **own)], scaling
        ),
    )
    return pool


def _certificates(namespace: str, host: str) -> tuple[Object, Credentials]:
    """Return the scaler's Secret, and the credentials of a client that it lets in."""
    ca = trustme.CA()
    server, client = ca.issue_cert(host), ca.issue_cert("keda-operator")
    authority = ca.cert_pem.bytes().decode()
    chain, key = (leaf.cert_chain_pems[0].bytes().decode() for leaf in (server, client)), client.private_key_pem
    server_chain, client_chain = chain
    files = {"ca.crt": authority, "tls.crt": server_chain, "tls.key": server.private_key_pem.bytes().decode()}
    return manifests.secret(namespace, _TLS, files), Credentials(authority, client_chain, key.bytes().decode())


@asynccontextmanager
async def deployed(
    access: Access, *, tls: bool = False, settings: Mapping[str, str] | None = None
) -> AsyncIterator[Stack]:
    """Deploy a Redis and a scaler in a namespace of their own while the context is open.

    Args:
        access: the cluster.
        tls: whether the scaler asks for certificates; `Stack.credentials` are accepted.
        settings: further flags of the scaler.
    """
    namespace = f"e2e-{uuid.uuid4().hex[:8]}"
    kubectl = access.kubectl
    service = manifests.scaler_service(namespace)
    keys = manifests.secret(namespace, _AGENTS_KEYS, {"ANTHROPIC_API_KEY": planted.KEY})
    await asyncio.to_thread(kubectl.apply, [manifests.namespace(namespace), keys, *manifests.redis(namespace), service])
    try:
        credentials = None
        if tls:
            host = await asyncio.to_thread(access.host, namespace, manifests.SCALER)
            secret, credentials = _certificates(namespace, host)
            await asyncio.to_thread(kubectl.apply, [secret])
        redis_url = (
            f"redis://{await asyncio.to_thread(access.address, namespace, manifests.REDIS, manifests.REDIS_PORT)}/0"
        )
        scaler = manifests.scaler(namespace, redis_url, tls_secret=_TLS if tls else None, settings=settings)
        await asyncio.to_thread(kubectl.apply, scaler)
        for name in (manifests.REDIS, manifests.SCALER):
            await asyncio.to_thread(access.wait_ready, namespace, name)
        scaler_address = await asyncio.to_thread(access.address, namespace, manifests.SCALER, manifests.SCALER_PORT)
        with access.reach(namespace, manifests.REDIS, manifests.REDIS_PORT) as redis:
            client = connect(f"redis://{redis}/0")
            try:
                async with api.connect(kubectl.kubeconfig) as connected:
                    yield Stack(access, connected, namespace, client, redis_url, scaler_address, credentials)
            finally:
                await client.aclose()
        shown = await asyncio.to_thread(kubectl.run, "get", "events,scaledobjects", "-n", namespace, "-o", "json")
        assert not planted.in_text(shown), "an event or a condition has a prompt or a key"
        for page in await asyncio.to_thread(lambda: list(pages(access, namespace))):
            assert not planted.in_text(page), f"a Pod's page has a prompt or a key: {page[:2000]}"
    finally:
        await asyncio.to_thread(kubectl.run, "delete", "namespace", namespace, "--wait=false")


def pages(access: Access, namespace: str) -> Iterator[str]:
    """Yield the pages of a namespace's Pods that show what they do: metrics, and why one is not ready."""
    for pod in access.kubectl.get("pods", "-n", namespace, "--field-selector=status.phase=Running")["items"]:
        ports = [port for container in pod["spec"]["containers"] for port in container.get("ports", [])]
        for port in (port["containerPort"] for port in ports if port.get("name") == "http"):
            for page in ("metrics", "readyz"):
                yield _page(access, pod, port, page)


def _page(access: Access, pod: Object, port: int, page: str) -> str:
    if access.local is None:
        place = f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}:{port}"
        try:
            return access.kubectl.run("get", "--raw", f"{place}/proxy/{page}")
        except KubectlFailed as error:
            return str(error)  # with what the page says
    try:  # the API server is no proxy for addresses of loopback
        with urlopen(f"http://{pod['status']['podIP']}:{port}/{page}", timeout=10) as answer:
            return str(answer.read().decode())
    except HTTPError as error:
        return error.read().decode()
    except OSError:
        return ""  # it has ended, or it speaks TLS


class Recorder:
    """Notes every change of a Deployment's ``spec.replicas``, with its time."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self.changes: list[tuple[float, int]] = []
        """Monotonic time in seconds, and the number from then on."""

    async def run(self) -> None:
        """Follow the Deployment until cancelled."""
        name = f"metadata.name={self._pool.agent}-agent"
        async for event in self._pool.stack.api.watch(DEPLOYMENTS.path(self._pool.stack.namespace), fieldSelector=name):
            replicas = int(event.object["spec"]["replicas"])
            if not self.changes or self.changes[-1][1] != replicas:
                self.changes.append((time.monotonic(), replicas))

    @property
    def values(self) -> list[int]:
        """The numbers, one after the other."""
        return [replicas for _, replicas in self.changes]


@asynccontextmanager
async def recorded(pool: Pool) -> AsyncIterator[Recorder]:
    """Record a pool's replicas while the context is open, from the number on that it has when it opens."""
    recorder = Recorder(pool)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(recorder.run())
        try:
            await eventually(lambda: bool(recorder.changes), "the recorder's first look")
            yield recorder
        finally:
            task.cancel()
