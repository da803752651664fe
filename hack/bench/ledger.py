"""What the token ledger costs: reserve and settle of one call, and memory, by the number of calls of the last 24 hours.

The calls that are there already are written into the ledger's keys directly, spread over the whole window: a thousand
of them in a thousand seconds, a million of them in all 86,400. Each measured call is ``reserve`` and ``settle``, one
after the other on one connection; meanwhile old seconds leave the window, as they would. In turns with them go two bare
writes (``HINCRBY``) over the same connection: what the machine and the way to Redis cost anybody at that moment.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from ark_taskqueue import Budget, Client, QueueKeys, TokenLedger, connect
from hack.bench.report import Bar, Percentiles, Report
from hack.local.redis_server import RedisServer

_DAY = 86_400
_COUNTS = (1_000, 10_000, 100_000, 1_000_000)
_BUDGET = Budget(daily=10**12, per_call=8_000)
_RESERVED_SECONDS = 150.0
_PAGE = 1000
_ROUND_TRIPS = 2
"""Of a reservation and a settlement."""
_BAR = Bar("<=", 2)


async def run(report: Report) -> None:
    """Run the benchmark."""
    samples = 1_000 if report.quick else 10_000
    with (
        tempfile.TemporaryDirectory(prefix="ark-bench-") as folder,
        RedisServer(Path(folder)) as server,
    ):
        report.software = {"redis": str(server.binary)}
        client = connect(server.url)
        try:
            ratios = {calls: await _measure(report, client, calls, samples) for calls in _COUNTS}
        finally:
            await client.aclose()
    growth = ratios[_COUNTS[-1]] / ratios[_COUNTS[0]]
    report.add("p50 by two bare writes, at 10^6 calls / at 10^3", growth, "ratio", Bar("<=", 1.25))


async def _measure(report: Report, client: Client, calls: int, samples: int) -> float:
    """Measure with so many calls in the window; return the median by that of two bare writes."""
    queue = QueueKeys.for_agent("bench", f"after-{calls}")
    await _fill(client, queue, calls)
    ledger = TokenLedger(client, queue)
    took, bare = [], []
    for _ in range(samples):
        began = time.perf_counter()
        await ledger.settle(await ledger.reserve(_BUDGET, _RESERVED_SECONDS), 900, 300)
        between = time.perf_counter()
        for _ in range(_ROUND_TRIPS):
            await client.execute_command("HINCRBY", "bare", "n", 1)
        took.append(1000 * (between - began))
        bare.append(1000 * (time.perf_counter() - between))
    last = calls == _COUNTS[-1]
    found, least = Percentiles.of(took), Percentiles.of(bare)
    report.add(f"reserve + settle at {calls:,} calls, p50", found.p50, "ms")
    report.add(f"reserve + settle at {calls:,} calls, p99", found.p99, "ms")
    report.add(f"two bare writes beside {calls:,} calls, p99", least.p99, "ms")
    report.add(f"p99 at {calls:,} calls / two bare writes", found.p99 / least.p99, "ratio", _BAR if last else None)
    used = 0
    for key in (queue.tokens, f"{queue.tokens}:log", f"{queue.tokens}:reserved"):
        used += int(await client.execute_command("MEMORY", "USAGE", key, "SAMPLES", 0) or 0)
    report.add(f"memory at {calls:,} calls", used / 1e6, "MB", Bar("<=", 10) if last else None)
    return found.p50 / least.p50


async def _fill(client: Client, queue: QueueKeys, calls: int) -> None:
    """Write calls of 1,200 tokens into the window, evenly over its seconds."""
    now = (await client.time())[0]
    seconds = min(calls, _DAY - 60)
    each, more = divmod(calls, seconds)
    entries = []
    for number in range(seconds):
        second = now - _DAY + 60 + number * (_DAY - 60) // seconds
        here = each + (number < more)
        entries.append(f"{second} {900 * here} {300 * here}")
    for start in range(0, len(entries), _PAGE):
        await client.execute_command("RPUSH", f"{queue.tokens}:log", *entries[start : start + _PAGE])
    await client.execute_command("HSET", queue.tokens, "in", 900 * calls, "out", 300 * calls)
