"""The token ledger under any order of operations, against a model of it; and with keys that somebody else wrote."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ark_taskqueue import (
    Budget,
    BudgetExceeded,
    Client,
    QueueKeys,
    TaskQueueError,
    TokenLedger,
    connect,
)
from ark_taskqueue.ledger.budget import Reservation
from ark_taskqueue.ledger.token_ledger import ledger_keys
from hack.local.redis_server import RedisServer
from tests.fuzz.corpus import examples, kept
from tests.taskqueue.moving_time import age_ledger

QUEUE = QueueKeys.for_agent("default", "fuzz")
_DAY = 86_402
_CALL_SECONDS = 3600
_SLOW_SECONDS = 30
"""The most that the operations of one run may take."""
Operation = list[Any]


@dataclass
class Model:
    """Calls by when they were settled, and reservations by when they end; seconds since the beginning."""

    now: int = 0
    spent: list[tuple[int, int]] = field(default_factory=list)
    reserved: dict[int, tuple[int, int]] = field(default_factory=dict)
    settled: set[int] = field(default_factory=set)

    def total(self) -> int:
        return sum(tokens for at, tokens in self.spent if self.now - at < _DAY)

    def clear_of_edges(self, seconds: int) -> int:
        """Return a step of about so many seconds after which nothing is about to end.

        Meanwhile the server's own clock goes on, and the model's does not.
        """
        ends = [at + _DAY for at, _ in self.spent] + [end for end, _ in self.reserved.values()]
        while any(0 < end - (self.now + seconds) <= _SLOW_SECONDS for end in ends):
            seconds += _SLOW_SECONDS
        return seconds

    def held(self) -> int:
        return sum(tokens for ends, tokens in self.reserved.values() if ends > self.now)


async def play(url: str, operations: Sequence[Operation]) -> None:
    client = connect(url)
    try:
        await client.execute_command("FLUSHALL")
        await _play(client, operations)
    finally:
        await client.aclose()


async def _play(client: Client, operations: Sequence[Operation]) -> None:
    ledger, model = TokenLedger(client, QUEUE), Model()
    made: list[Reservation] = []
    for operation in operations:
        match operation:
            case ["reserve", cap, tokens]:
                fits = model.total() + model.held() + tokens <= cap
                asked = ledger.reserve(Budget(cap, max(1, tokens)), _CALL_SECONDS, tokens)
                if fits:
                    model.reserved[len(made)] = (model.now + _CALL_SECONDS, tokens)
                    made.append(await asked)
                else:
                    with pytest.raises(BudgetExceeded):
                        await asked
            case ["settle", index, read, wrote] if index < len(made):
                over = model.now >= model.reserved.get(index, (0, 0))[0]
                known = index in model.settled
                # Within its time a settlement that was made already changes nothing; after it nobody can tell.
                if known and over:
                    continue
                first = await ledger.settle(_aged(made[index], model.now), read, wrote, again=known)
                assert first is not known
                if first:
                    model.settled.add(index)
                    model.spent.append((model.now, read + wrote))
                    ends, _ = model.reserved[index]
                    model.reserved[index] = (ends, 0)
            case ["age", seconds]:
                seconds = model.clear_of_edges(seconds)
                await age_ledger(client, QUEUE, seconds)
                model.now += seconds
        usage = await ledger.usage(Budget(None, 1))
        assert (usage.total, usage.reserved) == (model.total(), model.held()), operation


def _aged(reservation: Reservation, seconds: int) -> Reservation:
    """Return a reservation as one that was made so much earlier."""
    return Reservation(reservation.number, reservation.tokens, reservation.ends_ms)


@pytest.mark.parametrize("operations", kept("ledger"), ids=str)
def test_kept_operations(redis_server: RedisServer, operations: list[Operation]) -> None:
    asyncio.run(play(redis_server.url, operations))


_TOKENS = st.one_of(st.integers(0, 20), st.integers(0, 2**40))
_OPERATIONS = st.one_of(
    st.tuples(st.just("reserve"), st.one_of(st.integers(1, 60), st.just(2**45)), _TOKENS),
    st.tuples(st.just("settle"), st.integers(0, 8), _TOKENS, _TOKENS),
    st.tuples(st.just("age"), st.sampled_from([1, 60, 3599, 3600, 40_000, 86_400, 86_402])),
).map(list)


@settings(max_examples=examples(60))
@given(st.lists(_OPERATIONS, max_size=20))
def test_new_operations(redis_server: RedisServer, operations: list[Operation]) -> None:
    asyncio.run(play(redis_server.url, operations))


_GARBAGE = st.one_of(st.binary(max_size=20), st.integers(-(2**70), 2**70).map(lambda value: str(value).encode()))


@settings(max_examples=examples(40))
@given(
    st.dictionaries(st.one_of(st.sampled_from([b"in", b"out", b"start", b"number"]), st.binary(max_size=6)), _GARBAGE),
    st.lists(_GARBAGE, max_size=3),
    st.sampled_from(["hash", "string", "none"]),
)
def test_a_ledger_that_somebody_else_wrote_is_an_error_or_a_number_and_never_a_silent_yes(
    redis_server: RedisServer, sums: dict[bytes, bytes], log: list[bytes], kind: str
) -> None:
    async def check() -> None:
        client = connect(redis_server.url)
        try:
            await client.execute_command("FLUSHALL")
            first, second, _ = ledger_keys(QUEUE)
            if kind == "string":
                await client.execute_command("SET", first, b"x")
            elif kind == "hash" and sums:
                await client.execute_command("HSET", first, *(part for pair in sums.items() for part in pair))
            if log:
                await client.execute_command("RPUSH", second, *log)
            ledger = TokenLedger(client, QUEUE)
            try:
                usage = await ledger.usage(Budget(100, 10))
                reservation = await ledger.reserve(Budget(100, 10), 60)
                await ledger.settle(reservation, 5, 5)
            except TaskQueueError:
                return  # said, and no call is made
            assert usage.total + 10 <= 100 or usage.total < 0
        finally:
            await client.aclose()

    asyncio.run(check())
