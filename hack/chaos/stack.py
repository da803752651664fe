"""All parts of Ark on one process cluster, with a link between each two of them."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import yaml

from ark_operator.cluster.kinds import ARK_AGENTS
from ark_taskqueue import Client, QueueKeys, connect
from hack.cluster import api, manifests, operator_manifests
from hack.cluster.access import Access, local
from hack.cluster.api import SCALED_OBJECTS, Api, Object
from hack.cluster.node.node import NAME as NODE
from hack.cluster.process_cluster import ProcessCluster
from hack.cluster.state import State
from hack.local.operator_process import OperatorProcess
from hack.local.process import ChildProcess, free_port
from hack.local.proxy import Proxy
from hack.local.redis_server import RedisServer
from hack.local.scaler_process import ScalerProcess

NAMESPACE = "chaos"
MAIN = "steady"
LEASE_SECONDS = 15.0
"""A task whose worker is silent for so long goes to another; 60 s is the default, which would only take longer."""
CAP = 1000
PER_CALL = 100
_REPLICAS = 2
_ROOT = Path(__file__).resolve().parents[2]
_SET_UP_SECONDS = 120.0
_KUBELET_SECONDS = 1.0


@dataclass(slots=True)
class Stack:
    """What is there to be broken, and to be looked at."""

    folder: Path
    cluster: ProcessCluster
    access: Access
    api: Api
    redis: RedisServer
    client: Client
    """To Redis itself, past all links."""
    notes: Client
    """To the bookkeeping's Redis."""
    links: dict[str, Proxy]
    scalers: list[ScalerProcess] = field(default_factory=list)
    operators: list[OperatorProcess] = field(default_factory=list)
    notes_url: str = ""

    @property
    def state(self) -> State:
        """The cluster's, as it is now."""
        return self.cluster.state

    def start_scaler(self, number: int) -> None:
        """Start a scaler, in the place of one that is gone."""
        with suppress(IndexError):
            self.scalers[number].kill()
        ports = self.links["keda-scaler"].targets
        flags: dict[str, str | None] = {
            "redis": f"redis://127.0.0.1:{self.links['scaler-redis'].port}/0",
            "port": str(ports[number]),
        }
        made = ScalerProcess(self.folder / f"scaler-{number}", flags)
        self.scalers[number : number + 1] = [made]

    def start_operator(self, number: int) -> None:
        """Start an operator, in the place of one that is gone."""
        with suppress(IndexError):
            self.operators[number].kill()
        settings = {
            "redis": f"redis://127.0.0.1:{self.links['operator-redis'].port}/0",
            "scaler-address": f"127.0.0.1:{self.links['keda-scaler'].port}",
            "kubeconfig": str(self.folder / "operator.kubeconfig"),
            "namespace": operator_manifests.NAMESPACE,
        }
        # As the chart has it, the identity is the Pod's name: a container that is started again goes on at once.
        made = OperatorProcess(self.folder / "operators", settings, f"operator-{number}")
        self.operators[number : number + 1] = [made]

    async def keep(self) -> None:
        """Start again what has ended, a second later, as a kubelet does; until cancelled."""
        while True:
            await asyncio.sleep(_KUBELET_SECONDS)
            ended = [number for number, one in enumerate(self.scalers) if one.exit_code is not None]
            for number in ended:
                await asyncio.to_thread(self.start_scaler, number)
            ended = [number for number, one in enumerate(self.operators) if one.exit_code is not None]
            for number in ended:
                await asyncio.to_thread(self.start_operator, number)

    @property
    def leader(self) -> int:
        """Number of the operator that leads, as far as its log says."""
        found = [number for number, one in enumerate(self.operators) if one.exit_code is None and one.leads]
        return found[-1] if found else 0

    def workers(self) -> Iterator[psutil.Process]:
        """Yield the processes of workers of the main pool, among those that this cluster's node has started."""
        for process in psutil.Process(self.state.pids[NODE]).children(recursive=True):
            with suppress(psutil.Error):
                variables = process.environ()
                if "CHAOS_NOTES" in variables and variables.get("AGENT_QUEUE") == queue(MAIN).name:
                    yield process

    def processes(self, what: str) -> list[int]:
        """Return the ids of scalers, operators, the leader, the main pool's workers, Redis, or a cluster's program."""
        if what == "scalers":
            return [one.pid for one in self.scalers]
        if what == "operators":
            return [one.pid for one in self.operators]
        if what == "leader":
            return [self.operators[self.leader].pid]
        if what == "workers":
            return [process.pid for process in self.workers()]
        if what == "redis":
            assert self.redis.process is not None
            return [self.redis.process.pid]
        return [self.state.pids[what]]

    def signal(self, what: str, number: signal.Signals) -> list[int]:
        """Send a signal to processes; return their ids."""
        found = self.processes(what)
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        return found


def agent(name: str, notes_url: str, redis: str, *, shift: float = 0.0, **spec: object) -> Object:
    """Return an ArkAgent with the workers of this benchmark.

    Args:
        name: its name.
        notes_url: the bookkeeping's Redis.
        redis: what its Pods reach Redis by.
        shift: by how many seconds its workers' clock is wrong.
        spec: further fields.
    """
    variables = {
        "PYTHONPATH": str(_ROOT),
        "CHAOS_NOTES": notes_url,
        "CHAOS_CLOCK_SHIFT": f"{shift:g}",
        "AGENT_REDIS": redis,
        "AGENT_LEASE_SECONDS": f"{LEASE_SECONDS:g}",
    }
    env = [{"name": key, "value": value} for key, value in variables.items()]
    # No volume at /tmp: on the process node it would take the place of a checkout that lies below that folder.
    container = {
        "name": "agent",
        "command": [sys.executable, "-m", "hack.chaos.worker"],
        "env": env,
        "volumeMounts": [{"mountPath": "/tmp", "$patch": "delete"}],  # noqa: S108 - the container's own
    }
    return operator_manifests.agent(
        NAMESPACE,
        name,
        **{
            "model": "echo",
            "systemPrompt": "p",
            "limits": {"maxConcurrentTasks": 5, "timeoutSeconds": 30, "maxRetries": 10, "maxTokensPerCall": PER_CALL},
            "template": {"spec": {"containers": [container]}},
            **spec,
        },
    )


def queue(name: str) -> QueueKeys:
    """Return an agent's queue."""
    return QueueKeys.for_agent(NAMESPACE, name)


@asynccontextmanager
async def deployed(folder: Path) -> AsyncIterator[Stack]:
    """Start everything; the agents are for the caller to make."""
    async with AsyncExitStack() as stack:
        cluster = ProcessCluster(folder / "cluster")
        stack.callback(cluster.stop)
        await asyncio.to_thread(cluster.start)
        access = local(cluster.state)
        redis = RedisServer(folder / "redis", persistent=True)
        bookkeeping = RedisServer(folder / "notes")
        for server in (redis, bookkeeping):
            stack.callback(server.kill)
            await asyncio.to_thread(server.start)
        api_port = int(
            yaml.safe_load(access.kubectl.kubeconfig.read_text())["clusters"][0]["cluster"]["server"].rpartition(":")[2]
        )
        scaler_ports = [free_port() for _ in range(_REPLICAS)]
        links = {
            name: await stack.enter_async_context(Proxy(*targets))
            for name, targets in (
                ("workers-redis", [redis.port]),
                ("scaler-redis", [redis.port]),
                ("operator-redis", [redis.port]),
                ("keda-scaler", scaler_ports),
                ("operator-apiserver", [api_port]),
            )
        }
        text = access.kubectl.kubeconfig.read_text()
        through = folder / "operator.kubeconfig"
        through.write_text(text.replace(f":{api_port}", f":{links['operator-apiserver'].port}"))
        system = operator_manifests.NAMESPACE
        objects = [operator_manifests.crd(), manifests.namespace(system), manifests.namespace(NAMESPACE)]
        await asyncio.to_thread(access.kubectl.apply, objects)
        connected = await stack.enter_async_context(api.connect(access.kubectl.kubeconfig))
        client, notes = connect(redis.url, timeout=2.0), connect(bookkeeping.url)
        for one in (client, notes):
            stack.push_async_callback(one.aclose)
        made = Stack(folder, cluster, access, connected, redis, client, notes, links, notes_url=bookkeeping.url)
        stack.callback(_end, made)
        for number in range(_REPLICAS):
            await asyncio.to_thread(made.start_scaler, number)
        for number in range(_REPLICAS):
            await asyncio.to_thread(made.start_operator, number)
        yield made


def _end(stack: Stack) -> None:
    running: list[ChildProcess] = [*stack.scalers, *stack.operators]
    for process in running:
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGCONT)
        process.kill()


async def make_agents(stack: Stack, names: list[Object]) -> None:
    """Make agents, and wait until KEDA watches all of their queues."""
    for item in names:
        await stack.api.create(ARK_AGENTS.path(NAMESPACE), item)
    async with asyncio.timeout(_SET_UP_SECONDS):
        while True:
            listed = (await stack.api.get(SCALED_OBJECTS.path(NAMESPACE)))["items"]
            if sum(bool((item.get("status") or {}).get("externalMetricNames")) for item in listed) >= len(names):
                return
            await asyncio.sleep(0.5)
