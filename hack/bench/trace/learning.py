"""Gives a pool's operator a past to choose its sizing by."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence

from ark_api.agent import Agent
from ark_cli.trace import Arrival
from ark_operator.cluster.kinds import ARK_AGENTS
from ark_sizing.in_force import chosen_setting
from ark_sizing.record import Span, spans_of
from ark_sizing.setting import SPAN_SECONDS, Setting, described
from ark_sizing.simulation import Task
from ark_taskqueue import Client
from hack.bench.generated import service_seconds
from hack.bench.trace.contenders import AGENT, NAMESPACE, QUEUE
from hack.cluster.api import Api

_CHOICE_SECONDS = 420.0
"""The operator looks at a new pool within five minutes."""
_SPANS = 60 // SPAN_SECONDS
"""In a minute of the record."""
_PUSH = "return redis.call('RPUSH', KEYS[1], cmsgpack.pack({%s}))"


async def learned(connected: Api, client: Client, before: Sequence[Arrival], start_seconds: float) -> Setting:
    """Put on record what came before, and return what the operator makes of it.

    Args:
        connected: to the API server.
        client: of Redis.
        before: the arrivals, twenty minutes or more of them.
        start_seconds: how long Pods take to start, as if the operator had seen some.

    Raises:
        TimeoutError: the operator has chosen nothing.
    """
    tasks = [Task(arrival.at, service_seconds(arrival.output_tokens)) for arrival in before]
    await _put_on_record(client, spans_of(tasks))
    measured = {"startSeconds": start_seconds, "since": "2026-01-01T00:00:00Z"}
    async with asyncio.timeout(_CHOICE_SECONDS):
        while True:
            agent = Agent(await connected.get(ARK_AGENTS.path(NAMESPACE, AGENT)))
            setting = chosen_setting(agent)
            if setting is not None:
                print(f"chosen: {described(setting)}", file=sys.stderr, flush=True)
                return setting
            if agent.start_seconds is None:
                await connected.patch(ARK_AGENTS.path(NAMESPACE, AGENT, "status"), {"status": {"sizing": measured}})
            await asyncio.sleep(1.0)


async def _put_on_record(client: Client, spans: Sequence[Span]) -> None:
    """Write spans as workers do, the last one in the minute before this."""
    minutes: dict[int, list[int]] = {}
    for span in spans:
        number, place = divmod(int(span.at) // SPAN_SECONDS, _SPANS)
        numbers = minutes.setdefault(number, [0] * (3 * _SPANS))
        numbers[3 * place : 3 * place + 2] = span.arrivals, round(10 * span.busy_seconds)
    first = int(time.time() // 60) - max(minutes) - 1
    for number in sorted(minutes):
        packed = ",".join(map(str, [first + number, *minutes[number]]))
        await client.execute_command("EVAL", _PUSH % packed, 1, QUEUE.demand)
