"""What is broken, and how it is mended."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass

from ark_operator.cluster.kinds import ARK_AGENTS
from hack.chaos.stack import LEASE_SECONDS, MAIN, NAMESPACE, Stack, agent

FAULT_SECONDS = 10.0
_BACK_SECONDS = 120.0
_SLOW_SECONDS = 0.25
_HOUR = 3600.0

Break = Callable[[Stack], AbstractAsyncContextManager[None]]
"""A context: broken inside, mended behind it."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong."""

    name: str
    broken: Break


def _stopped(what: str, seconds: float = FAULT_SECONDS) -> Break:
    @asynccontextmanager
    async def broken(stack: Stack) -> AsyncIterator[None]:
        pids = stack.signal(what, signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
            yield
        finally:
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    return broken


@asynccontextmanager
async def _redis_killed(stack: Stack) -> AsyncIterator[None]:
    await asyncio.to_thread(stack.redis.kill)
    await asyncio.sleep(FAULT_SECONDS)
    yield
    await asyncio.to_thread(stack.redis.start)


@asynccontextmanager
async def _redis_restarted(stack: Stack) -> AsyncIterator[None]:
    await asyncio.to_thread(stack.redis.stop)
    yield
    await asyncio.to_thread(stack.redis.start)


@asynccontextmanager
async def _connections_gone(stack: Stack) -> AsyncIterator[None]:
    for _ in range(20):
        with suppress(OSError):
            await asyncio.to_thread(stack.redis.command, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        await asyncio.sleep(FAULT_SECONDS / 20)
    yield


def _redis_told(first: tuple[str, ...], then: tuple[str, ...]) -> Break:
    @asynccontextmanager
    async def broken(stack: Stack) -> AsyncIterator[None]:
        reply = await asyncio.to_thread(stack.redis.command, *first)
        assert reply.startswith(b"+OK"), reply
        await asyncio.sleep(FAULT_SECONDS)
        yield
        reply = await asyncio.to_thread(stack.redis.command, *then)
        assert reply.startswith(b"+OK"), reply

    return broken


def _cut(name: str) -> Break:
    @asynccontextmanager
    async def broken(stack: Stack) -> AsyncIterator[None]:
        link = stack.links[name]
        link.hang()
        await asyncio.sleep(FAULT_SECONDS)
        yield
        link.drop_connections()  # what was sent into the cut is lost, and with it the connection
        link.resume()

    return broken


def _slow(name: str) -> Break:
    @asynccontextmanager
    async def broken(stack: Stack) -> AsyncIterator[None]:
        stack.links[name].slow(_SLOW_SECONDS)
        await asyncio.sleep(FAULT_SECONDS)
        yield
        stack.links[name].slow(0.0)

    return broken


def _killed(what: str) -> Break:
    """The kubelet's part, the new start a second later, is in what is measured."""

    @asynccontextmanager
    async def broken(stack: Stack) -> AsyncIterator[None]:
        stack.signal(what, signal.SIGKILL)
        yield

    return broken


@asynccontextmanager
async def _leader_paused(stack: Stack) -> AsyncIterator[None]:
    """Longer than its lease: another one leads; this one must not write when it wakes up. It ends, and is restarted."""
    leader = stack.leader
    [pid] = stack.signal("leader", signal.SIGSTOP)
    await asyncio.sleep(20.0)
    yield
    os.kill(pid, signal.SIGCONT)
    async with asyncio.timeout(_BACK_SECONDS):
        while stack.operators[leader].pid == pid:  # noqa: ASYNC110 - a process
            await asyncio.sleep(0.1)


@asynccontextmanager
async def _workers_killed(stack: Stack) -> AsyncIterator[None]:
    """The kubelet starts them again; their tasks come back when their leases are over, and that is the fault's end."""
    stack.signal("workers", signal.SIGKILL)
    await asyncio.sleep(LEASE_SECONDS)
    yield


def _program_killed(name: str, back: Callable[[Stack, str], bool]) -> Break:
    """A program of the cluster's, which its supervisor starts again.

    Args:
        name: the program's.
        back: whether it is at work again, by the stack and what the new one has written into its log.
    """

    @asynccontextmanager
    async def broken(stack: Stack) -> AsyncIterator[None]:
        log = stack.state.logs / f"{name}.log"
        before, written = stack.state.pids[name], len(log.read_bytes())

        def is_back() -> bool:
            return back(stack, log.read_bytes()[written:].decode(errors="replace").lower())

        stack.signal(name, signal.SIGKILL)
        async with asyncio.timeout(_BACK_SECONDS):
            while stack.state.pids[name] == before or not await asyncio.to_thread(is_back):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        yield

    return broken


def _api_server_is_back(stack: Stack, _: str) -> bool:
    try:
        return stack.access.kubectl.run("get", "--raw", "/readyz") == "ok"
    except Exception:  # noqa: BLE001 - away, in whatever way
        return False


def _keda_is_back(_: Stack, log: str) -> bool:
    """KEDA's operator leads again, for which it waits for the end of its own lease of 15 s."""
    return "successfully acquired lease" in log


def _adapter_is_back(stack: Stack, _: str) -> bool:
    try:
        found = stack.access.kubectl.run("get", "--raw", "/apis/external.metrics.k8s.io/v1beta1")
    except Exception:  # noqa: BLE001 - away, in whatever way
        return False
    return "external.metrics.k8s.io" in found


@asynccontextmanager
async def _clock_wrong(stack: Stack) -> AsyncIterator[None]:
    """All workers of the pool are replaced by such as have a wrong clock, and then by sound ones."""
    redis = f"redis://127.0.0.1:{stack.links['workers-redis'].port}/0"

    async def shift(seconds: float) -> None:
        spec = agent(MAIN, stack.notes_url, redis, shift=seconds)["spec"]
        await stack.api.patch(ARK_AGENTS.path(NAMESPACE, MAIN), {"spec": {"template": spec["template"]}})

    await shift(_HOUR)
    await asyncio.sleep(2 * FAULT_SECONDS)
    yield
    await shift(0.0)


FAULTS = (
    Fault("Redis killed", _redis_killed),
    Fault("Redis stopped", _stopped("redis")),
    Fault("Redis restarted", _redis_restarted),
    Fault("Redis drops its connections", _connections_gone),
    Fault("Redis read-only", _redis_told(("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE"))),
    Fault(
        "Redis out of memory",
        _redis_told(("CONFIG", "SET", "maxmemory", "1"), ("CONFIG", "SET", "maxmemory", "0")),
    ),
    Fault("scalers killed", _killed("scalers")),
    Fault("scalers stopped", _stopped("scalers")),
    Fault("leader killed", _killed("leader")),
    Fault("operators stopped", _stopped("operators", 5.0)),
    Fault("leader stopped beyond its lease", _leader_paused),
    Fault("workers killed", _workers_killed),
    Fault("workers stopped", _stopped("workers")),
    Fault("API server restarted", _program_killed("kube-apiserver", _api_server_is_back)),
    Fault("API server stopped", _stopped("kube-apiserver")),
    Fault("KEDA operator restarted", _program_killed("keda-operator", _keda_is_back)),
    Fault("KEDA operator stopped", _stopped("keda-operator")),
    Fault("KEDA adapter restarted", _program_killed("keda-adapter", _adapter_is_back)),
    Fault("KEDA adapter stopped", _stopped("keda-adapter")),
    *(
        Fault(f"{name.replace('-', ' - ')} {what}", make(name))
        for name in ("workers-redis", "scaler-redis", "operator-redis", "keda-scaler", "operator-apiserver")
        for what, make in (("cut", _cut), ("slow", _slow))
    ),
    Fault("workers' clock wrong by an hour", _clock_wrong),
)
