"""The scaler and the task queue against what gRPC and Redis cost by themselves.

| what | how |
|---|---|
| wake | 1,000 idle queues with their push streams; XADD to one after the other, time until its stream says true |
| Redis load | the same queues, polled as KEDA does; commands in Redis' own statistics, and its clients |
| GetMetrics rate | calls of 50 callers at a time, in turns: null server, idle queues, active queues |
| 10,000 objects | each with its push stream, 1,000 calls/s (KEDA's default rhythm), in turns with a null server |
| task queue | submit, claim, complete one after the other, in turns with the bare commands |

Client and servers are processes of their own. A call's rate is bounded by the client as well, so the servers'
processor time for each call is reported beside it.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import grpc

from ark_scaler.wire import externalscaler_pb2 as wire
from ark_taskqueue import Client, Consumer, Outcome, Producer, QueueKeys, connect
from hack.bench.report import Bar, Percentiles, Report
from hack.bench.scaler_servers import Server, metrics_of, null_process, references_of, scaler_process
from hack.local.redis_server import RedisServer

_GROUP = "agent-workers"
_CALLERS = 50


@dataclass(frozen=True, slots=True)
class _Plan:
    """How much is measured."""

    idle_queues: int = 1000
    wakes: int = 500
    redis_seconds: float = 20.0
    rounds: int = 5
    calls: int = 3000
    objects: int = 10_000
    objects_rate: int = 1000
    objects_windows: int = 3
    objects_seconds: float = 10.0
    tasks: int = 1000


_FULL = _Plan()
_QUICK = _Plan(
    wakes=100, redis_seconds=4, rounds=3, calls=600, objects=2000, objects_windows=3, objects_seconds=2, tasks=250
)


async def run(report: Report) -> None:
    """Run the benchmark."""
    plan = _QUICK if report.quick else _FULL
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ark-bench-")))
        redis = stack.enter_context(RedisServer(folder / "redis"))
        report.software = {"redis": str(redis.binary), "grpcio": grpc.__version__}
        client = connect(redis.url)
        try:
            await _task_queue(report, plan, client)
            await _wake_and_load(report, plan, folder / "wake", redis, client)
            await _rates(report, plan, folder / "rates", redis, client)
            await _many_objects(report, plan, folder / "objects", redis, client)
        finally:
            await client.aclose()


def _progress(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


async def _wait_for_watch(client: Client, streams: int) -> None:
    """Wait until each queue was read, few are read again, and Redis has a client that is blocked: the watch."""
    deadline = time.monotonic() + 60
    before = -1
    while time.monotonic() < deadline:
        await asyncio.sleep(0.5)
        statistics_now = await client.info("commandstats")
        reads = sum(int(stats["calls"]) for name, stats in statistics_now.items() if "evalsha" in name)
        blocked = int((await client.info("clients"))["blocked_clients"])
        if reads >= streams and reads - before <= streams / 20 and blocked:
            return
        before = reads
    raise TimeoutError(f"the scaler does not watch {streams} queues after a minute")


async def _task_queue(report: Report, plan: _Plan, client: Client) -> None:
    _progress("task queue: submit, claim, complete, against the bare commands")
    queue = QueueKeys.for_agent("bench", "queue")
    producer, consumer = Producer(client, queue), Consumer(client, queue, "worker")
    await client.execute_command("XGROUP", "CREATE", "bare", _GROUP, "0", "MKSTREAM")

    async def ours() -> None:
        await producer.submit("what is asked")
        [task] = await consumer.claim(1)
        await consumer.complete(task, Outcome("what is answered"), 0.01)

    async def bare() -> None:
        await client.execute_command("XADD", "bare", "*", "prompt", "what is asked", "attempt", "1")
        [[_, [[entry_id, _fields]]]] = await client.execute_command(
            "XREADGROUP", "GROUP", _GROUP, "worker", "COUNT", 1, "STREAMS", "bare", ">"
        )
        await client.execute_command("XACK", "bare", _GROUP, entry_id)
        await client.execute_command("XDEL", "bare", entry_id)

    async def rate(act: Callable[[], Awaitable[None]]) -> float:
        began = time.perf_counter()
        for _ in range(plan.tasks):
            await act()
        return plan.tasks / (time.perf_counter() - began)

    await rate(ours)  # scripts loaded, connection open
    pairs = [(await rate(ours), await rate(bare)) for _ in range(plan.rounds)]
    report.add("task queue: tasks by submit + claim + complete", statistics.median(o for o, _ in pairs), "tasks/s")
    report.add("task queue: tasks by the bare commands", statistics.median(b for _, b in pairs), "tasks/s")
    ratio = statistics.median(o / b for o, b in pairs)
    report.add("task queue: rate / rate of the bare commands", ratio, "ratio", Bar(">=", 0.5))


async def _wake_and_load(report: Report, plan: _Plan, folder: Path, redis: RedisServer, client: Client) -> None:
    _progress(f"wake: {plan.idle_queues} idle queues")
    with ExitStack() as stack:
        server = scaler_process(stack, folder, redis)
        references = references_of("idle", plan.idle_queues)
        server.open_streams(references)
        await _wait_for_watch(client, plan.idle_queues)
        await _redis_load(report, plan, server, references, client)
        waits = []
        for i in range(plan.wakes):
            number = i % plan.idle_queues
            pushed = asyncio.ensure_future(server.streams[number].read())
            await asyncio.sleep(0.005)  # the reader waits before the task comes
            began = time.perf_counter()
            await client.execute_command("XADD", f"ark:{{bench/idle-{number}}}:tasks", "*", "prompt", "x")
            async with asyncio.timeout(10):
                await pushed
            waits.append((time.perf_counter() - began) * 1000)
        times = Percentiles.of(waits)
        report.add("wake: XADD -> true, p50", times.p50, "ms", Bar("<=", 3))
        report.add("wake: XADD -> true, p99", times.p99, "ms", Bar("<=", 20))
        await server.close()


async def _redis_load(
    report: Report, plan: _Plan, server: Server, references: Sequence[wire.ScaledObjectRef], client: Client
) -> None:
    async def commands() -> int:
        return sum(int(stats["calls"]) for stats in (await client.info("commandstats")).values())

    before, began = await commands(), time.perf_counter()
    await _paced(server, references, len(references) / 10, plan.redis_seconds)  # three calls in 30 s for each
    seconds = time.perf_counter() - began
    counted = await commands() - before - 1  # without our own INFO
    clients = int((await client.info("clients"))["connected_clients"]) - 1
    report.add(f"Redis load: commands, {len(references)} idle queues polled", counted / seconds, "1/s", Bar("<=", 1))
    report.add("Redis load: connections", clients, "connections", Bar("<=", 4))


async def _rates(report: Report, plan: _Plan, folder: Path, redis: RedisServer, client: Client) -> None:
    _progress("GetMetrics rate: null server, idle queues, active queues in turns")
    queues = 200
    idle, active = references_of("rate-idle", queues), references_of("rate-active", queues)
    await _make_active(client, [f"rate-active-{i}" for i in range(queues)])
    with ExitStack() as stack:
        null, scaler = null_process(stack, folder), scaler_process(stack, folder, redis)

        async def rate(server: Server, references: Sequence[wire.ScaledObjectRef]) -> tuple[float, float]:
            requests = [metrics_of(reference) for reference in references]
            remaining = iter(range(plan.calls))

            async def caller() -> None:
                for i in remaining:
                    await server.stub.GetMetrics(requests[i % len(requests)])

            cpu, began = server.cpu_seconds(), time.perf_counter()
            await asyncio.gather(*(caller() for _ in range(_CALLERS)))
            seconds = time.perf_counter() - began
            return plan.calls / seconds, (server.cpu_seconds() - cpu) / plan.calls * 1e6

        kinds = {"null": (null, idle), "idle": (scaler, idle), "active": (scaler, active)}
        for server, references in kinds.values():
            await rate(server, references)  # warm: parsed triggers, watched queues
        await asyncio.sleep(0.5)
        found: dict[str, list[tuple[float, float]]] = {kind: [] for kind in kinds}
        for _ in range(plan.rounds):
            for kind, (server, references) in kinds.items():
                found[kind].append(await rate(server, references))
        for kind, samples in found.items():
            name = "null handler" if kind == "null" else f"{kind} queues"
            report.add(f"GetMetrics rate: {name}", statistics.median(r for r, _ in samples), "calls/s")
            cpu = statistics.median(c for _, c in samples)
            report.add(f"GetMetrics: server's processor time, {name}", cpu, "us/call")
        for kind, limit in (("idle", 0.8), ("active", 0.5)):
            ratio = statistics.median(
                ours / base for (ours, _), (base, _) in zip(found[kind], found["null"], strict=True)
            )
            report.add(f"GetMetrics rate: {kind} queues / null handler", ratio, "ratio", Bar(">=", limit))
        await null.close()
        await scaler.close()


async def _many_objects(report: Report, plan: _Plan, folder: Path, redis: RedisServer, client: Client) -> None:
    _progress(f"{plan.objects} ScaledObjects with their push streams, {plan.objects_rate} calls/s")
    references = references_of("many", plan.objects)
    # One queue in twenty is busy, with work in flight: the rest is idle.
    await _make_active(client, [f"many-{i}" for i in range(0, plan.objects, 20)])
    with ExitStack() as stack:
        null, scaler = null_process(stack, folder), scaler_process(stack, folder, redis)
        for server in (null, scaler):
            server.open_streams(references)
            # A call that comes behind the opening streams is answered when they are open.
            await server.stub.IsActive(references[0])
        await _wait_for_watch(client, plan.objects)
        for server in (null, scaler):
            if any(stream.done() for stream in server.streams):
                raise RuntimeError("a push stream ended that should stay open")
        for server in (null, scaler):  # what the opening streams left to do is not what is measured
            await _paced(server, references, plan.objects_rate, 2.0)
        latencies: dict[str, list[float]] = {"null": [], "ours": []}
        for _ in range(plan.objects_windows):
            for name, server in (("null", null), ("ours", scaler)):
                latencies[name] += await _paced(server, references, plan.objects_rate, plan.objects_seconds)
        times = {name: Percentiles.of(samples) for name, samples in latencies.items()}
        memory = {name: server.process.memory_info().rss / 1e6 for name, server in (("null", null), ("ours", scaler))}
        for name, label in (("null", "null server"), ("ours", "scaler")):
            report.add(f"{plan.objects} objects: p50 of a call, {label}", times[name].p50 * 1000, "ms")
            report.add(f"{plan.objects} objects: p99 of a call, {label}", times[name].p99 * 1000, "ms")
            report.add(f"{plan.objects} objects: memory, {label}", memory[name], "MB")
        p99, rss = times["ours"].p99 / times["null"].p99, memory["ours"] / memory["null"]
        report.add(f"{plan.objects} objects: p99 / null server's", p99, "ratio", Bar("<=", 1.5))
        # With few streams the fixed part of the memory decides, and the bar is about many.
        bar = None if report.quick else Bar("<=", 1.25)
        report.add(f"{plan.objects} objects: memory / null server's", rss, "ratio", bar)
        await null.close()
        await scaler.close()


async def _paced(
    server: Server, references: Sequence[wire.ScaledObjectRef], per_second: float, seconds: float
) -> list[float]:
    """Poll objects as KEDA does, at a fixed rate; return each call's time since it was due, seconds."""
    latencies: list[float] = []
    calls: tuple[Callable[[wire.ScaledObjectRef], Awaitable[object]], ...] = (
        server.stub.GetMetricSpec,
        lambda reference: server.stub.GetMetrics(metrics_of(reference)),
        server.stub.IsActive,
    )

    async def call(number: int, due: float) -> None:
        await calls[number % 3](references[number // 3 % len(references)])
        latencies.append(time.perf_counter() - due)

    began = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for number in range(int(per_second * seconds)):
            due = began + number / per_second
            if (ahead := due - time.perf_counter()) > 0:
                await asyncio.sleep(ahead)
            tasks.create_task(call(number, due))
    return latencies


async def _make_active(client: Client, names: Sequence[str]) -> None:
    """Give queues three waiting tasks and two in flight."""
    for name in names:
        queue = QueueKeys.for_agent("bench", name)
        for _ in range(5):
            await client.execute_command("XADD", queue.stream, "*", "prompt", "x")
        await Consumer(client, queue, "worker").claim(2)
