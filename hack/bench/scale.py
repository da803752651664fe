"""What one queue, task and agent cost Redis, and how many pools are up at a time (docs/evidence/scale.md).

| what | how |
|---|---|
| memory | Redis' `used_memory` before and after many of a kind, divided by their number |
| commands and processor time | Redis' own counts over whole lives of tasks, and over readings of depths |
| the watch | one blocking XREAD over so many idle streams, by Redis' processor time |
| pools that are up | simulated: 10,000,000 tasks a day over 10,000 agents |

In the simulation each agent has the public trace's bursts and gaps, thinned out, at an hour of its own; a pool is up
from its first task until five minutes after its last one.
"""

from __future__ import annotations

import itertools
import random
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ark_cli import trace
from ark_taskqueue import (
    PRIORITIES,
    Budget,
    Client,
    Consumer,
    Outcome,
    Producer,
    QueueKeys,
    TokenLedger,
    connect,
    read_depths,
)
from hack.bench.report import Report
from hack.local.redis_server import RedisServer

_TRACE = Path(__file__).resolve().parents[1] / "demo" / "azure-llm-2023-code-by-second.csv"
_AGENTS = 10_000
_TASKS_A_DAY = 10_000_000
_COOLDOWN_SECONDS = 300.0
_DAY = 86_400.0
_MOST_SAMPLED = 10_000
"""Of an agent's tasks; with more it is always up."""
_PROMPT = "x" * 1000
_ANSWER = "y" * 1000
_BUDGET = Budget(10**12, 2000)


async def run(report: Report) -> None:
    """Run the benchmark."""
    with tempfile.TemporaryDirectory() as folder, RedisServer(Path(folder)) as server:
        report.software = {"redis": str(server.binary)}
        client = connect(server.url)
        try:
            await _memory(report, client, 1000 if report.quick else 10_000)
            await _life(report, client, 300 if report.quick else 3000)
            await _depths(report, client, 20 if report.quick else 200)
            await _watch(report, client, (1000, 10_000) if report.quick else (1000, 10_000, 100_000))
        finally:
            await client.aclose()
    _simulated(report, 100 if report.quick else 1000)


async def _used(client: Client) -> int:
    return int((await client.info("memory"))["used_memory"])


async def _memory(report: Report, client: Client, many: int) -> None:
    """Memory of queues that were used and are empty, of waiting tasks, and of results."""
    before = await _used(client)
    for number in range(many):
        queue = QueueKeys.for_agent("team", f"idle-{number}")
        await client.execute_command("XGROUP", "CREATE", queue.stream, queue.group, "0", "MKSTREAM")
        await client.execute_command("HSET", queue.stats, "completed", 1000, "service_mean_ms", "4321.123")
    report.add("memory of an idle queue", (await _used(client) - before) / many, "bytes")
    queue = QueueKeys.for_agent("team", "waiting")
    producer = Producer(client, queue)
    before = await _used(client)
    for _ in range(many):
        await producer.submit(_PROMPT)
    report.add("memory of a waiting task with 1,000 bytes", (await _used(client) - before) / many, "bytes")
    await client.delete(queue.stream)


async def _life(report: Report, client: Client, many: int) -> None:
    """Commands, processor time and memory of whole lives: submit, claim, reserve, settle, complete."""
    queue = QueueKeys.for_agent("team", "lives")
    producer, consumer, ledger = Producer(client, queue), Consumer(client, queue, "w"), TokenLedger(client, queue)

    async def life() -> None:
        await producer.submit(_PROMPT)
        [task] = await consumer.claim(1)
        reservation = await ledger.reserve(_BUDGET, 60)
        await ledger.settle(reservation, 900, 300)
        await consumer.complete(task, Outcome(_ANSWER, 900, 300), 0.01)

    await life()
    commands, seconds, memory = await _commands(client), await _processor(client), await _used(client)
    for _ in range(many):
        await life()
    report.add("calls of Redis for a task's life", (await _commands(client) - commands) / many, "calls")
    report.add("Redis' processor time for a task's life", (await _processor(client) - seconds) / many * 1e6, "us")
    report.add("memory of a result with 1,000 bytes", (await _used(client) - memory) / many, "bytes")


async def _depths(report: Report, client: Client, rounds: int) -> None:
    """Processor time of a reading of an active queue, in pipelines of 100."""
    queues = [QueueKeys.for_agent("team", f"active-{number}") for number in range(100)]
    for queue in queues:
        for _ in range(5):
            await Producer(client, queue).submit("x")
        await Consumer(client, queue, "w").claim(2)
    seconds = await _processor(client)
    for _ in range(rounds):
        await read_depths(client, queues)
    spent = (await _processor(client) - seconds) / rounds / len(queues)
    report.add("Redis' processor time for one reading of an active queue", spent * 1e6, "us")


async def _watch(report: Report, client: Client, counts: Sequence[int]) -> None:
    """The time that one round of the watch keeps Redis busy."""
    made = 0
    for count in counts:
        for number in range(made, count):
            queue = QueueKeys.for_agent("team", f"watched-{number}")
            for stream in queue.streams:
                await client.execute_command("XGROUP", "CREATE", stream, queue.group, "0", "MKSTREAM")
        made = count
        queues = [QueueKeys.for_agent("team", f"watched-{number}") for number in range(count)]
        normal = [queue.stream for queue in queues]
        others = [queue.stream_of(priority) for queue in queues for priority in PRIORITIES if priority != "normal"]
        rounds = [(await _round(client, normal), await _round(client, others)) for _ in range(5)]
        report.add(f"one round over {count:,} idle queues", statistics.median(a for a, _ in rounds), "ms")
        report.add(f"one of their other priorities, {count:,} queues", statistics.median(b for _, b in rounds), "ms")


async def _round(client: Client, streams: Sequence[str]) -> float:
    """Return how much processor time one round over streams costs Redis, milliseconds: to read, block and unblock."""
    before = await _processor(client)
    await client.execute_command("XREAD", "COUNT", 1, "BLOCK", 1, "STREAMS", *streams, *(["0-0"] * len(streams)))
    return (await _processor(client) - before) * 1000


async def _commands(client: Client) -> int:
    return sum(
        int(stats["calls"])
        for name, stats in (await client.info("commandstats")).items()
        if name in ("cmdstat_evalsha", "cmdstat_eval", "cmdstat_xreadgroup", "cmdstat_hgetall")
    )


async def _processor(client: Client) -> float:
    found = await client.info("cpu")
    return float(found["used_cpu_user"]) + float(found["used_cpu_sys"])


def _simulated(report: Report, sample: int) -> None:
    """How many pools are up at a time, and how often one is woken, reckoned up from a sample of the agents."""
    arrivals = [arrival.at for arrival in trace.read(_TRACE)]
    chance = random.Random(1)  # noqa: S311 - the same agents in every run
    step = _AGENTS // sample
    harmonic = sum(1 / rank for rank in range(1, _AGENTS + 1))
    spread: dict[str, list[int]] = {
        "evenly": [_TASKS_A_DAY // _AGENTS] * sample,
        "by Zipf's law": [int(_TASKS_A_DAY / harmonic / rank) for rank in range(step // 2 + 1, _AGENTS + 1, step)],
    }
    for how, tasks in spread.items():
        days = [_day(chance, arrivals, each) for each in tasks]
        up, wakes = sum(day[0] for day in days) / _DAY, sum(day[1] for day in days) / _DAY
        report.add(f"simulated, tasks spread {how}: pools up at a time, of 10,000", up * step, "pools")
        report.add(f"simulated, tasks spread {how}: pools woken from zero", wakes * step, "1/s")
    report.add("tasks", _TASKS_A_DAY / _DAY, "1/s")


def _day(chance: random.Random, arrivals: Sequence[float], tasks: int) -> tuple[float, int]:
    """Return for how many seconds of a day a pool is up, and how often it is woken."""
    length = arrivals[-1] + 1.0
    loops = int(_DAY // length) + 1
    moments = sorted(
        chance.randrange(loops) * length + chance.choice(arrivals) for _ in range(min(tasks, _MOST_SAMPLED))
    )
    gaps = [after - before for before, after in itertools.pairwise(moments)]
    return sum(min(gap, _COOLDOWN_SECONDS) for gap in gaps), sum(gap > _COOLDOWN_SECONDS for gap in gaps)
