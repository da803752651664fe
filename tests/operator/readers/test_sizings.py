"""When a pool's sizing is chosen, and how the process is asked that does so."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from typing import Any, cast

import psutil
import pytest

from ark_api.tenancy import Tenancy
from ark_kube.objects import Key, Object
from ark_operator.cluster.cache import Cluster
from ark_operator.decision.agent import Agent
from ark_operator.metrics import OperatorMetrics
from ark_operator.readers.sizings import NotAnswered, Sizer, ask
from ark_sizing.choice import size
from ark_sizing.exchange import Question
from ark_sizing.in_force import written
from ark_sizing.record import Span, spans_of
from ark_sizing.setting import Setting
from ark_sizing.simulation import Pool
from ark_taskqueue import Client, connect
from hack.bench import generated
from hack.local.redis_server import RedisServer
from tests.operator.builders import agent

POOL, SAFE = Pool(start_seconds=10.0), Setting(tasks_per_replica=3)


async def test_it_answers_with_the_choice() -> None:
    record = spans_of(generated.bursts(1500.0))
    assert await ask(Question(record, POOL, SAFE, None, None)) == size(record, POOL, SAFE)


async def test_a_process_that_fails_says_why() -> None:
    with pytest.raises(NotAnswered, match=r"(?s)ended with 1: .*ZeroDivisionError"):
        await ask(Question([Span(0.0, 1000, 1.0), Span(2000.0, 0, 0.0)], Pool(slots=0), SAFE, None, None))


async def test_who_is_cancelled_leaves_no_process() -> None:
    record = [Span(10.0 * number, 300, 900.0) for number in range(720)]
    task = asyncio.create_task(ask(Question(record, POOL, SAFE, None, None)))
    child = None
    while child is None:
        await asyncio.sleep(0.01)
        child = _child()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert _child() is None


def _child() -> int | None:
    """Return a process of `ark_sizing` that this one has started."""
    return next((one.pid for one in psutil.Process().children() if "ark_sizing" in one.cmdline()), None)


MINUTE = "{tonumber(ARGV[1]) + number, 30, 1500, 0, 30, 1500, 0}"


class Pools:
    """A sizer of one pool, on a real Redis, and its clock."""

    def __init__(self, redis: Client) -> None:
        self.now = 0.0
        self.touched: list[Key] = []
        self.cluster = Cluster(cast("Any", None), None, self._ignore, self._ignore, self._ignore)
        self.metrics = OperatorMetrics(1)
        self.sizer = Sizer(
            {"default": redis},
            self.cluster,
            self.touched.append,
            Tenancy.of(()),
            self.metrics,
            seconds=300.0,
            clock=lambda: self.now,
        )

    def _ignore(self, _: object) -> None:
        pass

    def has(self, sizing: Object, **scaling: Any) -> Agent:
        """Have the agent's status say something of its sizing."""
        made = agent(autoscaling=scaling, status={"mode": "Auto", "sizing": {"startSeconds": 10.0, **sizing}})
        made.object["metadata"]["resourceVersion"] = str(1000 + len(self.touched))
        self.cluster.agents.observe(dict(made.object))
        return made

    async def passes(self, seconds: float) -> None:
        """Let time pass, in steps of a look, and every look be made."""
        for _ in range(int(seconds // 300)):
            self.now += 300.0
            for key in self.sizer._due():
                await self.sizer._look(key)

    def counted(self, result: str) -> float:
        return self.metrics.registry.get_sample_value("ark_operator_sizings_total", {"result": result}) or 0.0


@pytest.fixture
async def redis(redis_server: RedisServer) -> AsyncIterator[Client]:
    client = connect(redis_server.url)
    yield client
    await client.aclose()


async def put_on_record(redis: Client, of: Agent) -> None:
    script = f"for number = 0, 39 do redis.call('RPUSH', KEYS[1], cmsgpack.pack({MINUTE})) end"
    await redis.execute_command("EVAL", script, 1, of.queue.demand, int(time.time() // 60) - 45)


async def test_a_choice_is_made_as_often_as_its_time_allows(redis: Client) -> None:
    pools = Pools(redis)
    of = pools.has({})
    await put_on_record(redis, of)
    await pools.passes(600)
    chosen = pools.sizer.sizing(of)
    assert chosen is not None
    assert pools.touched == [of.key]
    sized = pools.has(dict(written(of, chosen.setting, chosen.expected)))
    await pools.passes(900)
    assert pools.counted("chosen") == 1
    await pools.passes(14_400)
    assert 2 <= pools.counted("chosen") <= 12, "and not at each of 51 looks"
    assert pools.sizer.sizing(sized) is not None


async def test_an_answer_to_something_else_counts_no_more_and_another_is_chosen_at_once(redis: Client) -> None:
    pools = Pools(redis)
    of = pools.has({})
    await put_on_record(redis, of)
    await pools.passes(600)
    assert pools.sizer.sizing(of) is not None
    larger = pools.has({}, maxReplicas=20)
    assert pools.sizer.sizing(larger) is None
    await pools.passes(300)
    assert pools.sizer.sizing(larger) is not None
    assert pools.counted("chosen") == 2


async def test_a_choice_that_fails_is_tried_again_and_leaves_the_others_alone(
    redis: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    pools = Pools(redis)
    of = pools.has({})
    await put_on_record(redis, of)
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    await pools.passes(900)
    assert pools.counted("failed") >= 2
    assert pools.sizer.sizing(of) is None
    monkeypatch.undo()
    await pools.passes(300)
    assert pools.sizer.sizing(of) is not None
