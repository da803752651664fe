"""The token ledger: the budget holds, the window rolls, and nothing is counted too low."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from ark_taskqueue import (
    Budget,
    BudgetExceeded,
    Client,
    QueueKeys,
    RedisUnavailable,
    Reservation,
    TokenLedger,
    connect,
    read_usages,
)
from hack.local.process import free_port
from hack.local.redis_server import RedisServer
from tests.taskqueue.moving_time import age_ledger

BUDGET = Budget(daily=10_000, per_call=1_000)
DAY = 86_400


async def spend(ledger: TokenLedger, spent_in: int, spent_out: int, budget: Budget = BUDGET) -> None:
    assert await ledger.settle(await ledger.reserve(budget, 60), spent_in, spent_out)


async def test_a_call_is_reserved_and_then_costs_what_it_has_cost(each_client: Client, queue: QueueKeys) -> None:
    ledger = TokenLedger(each_client, queue)
    reservation = await ledger.reserve(BUDGET, 60)
    usage = await ledger.usage(BUDGET)
    assert (usage.total, usage.reserved, usage.exceeded, usage.restored_at) == (0, 1000, False, None)
    assert await ledger.settle(reservation, 120, 30)
    usage = await ledger.usage(BUDGET)
    assert (usage.input, usage.output, usage.total, usage.reserved) == (120, 30, 150, 0)


async def test_what_was_settled_or_released_is_not_settled_again(client: Client, queue: QueueKeys) -> None:
    ledger = TokenLedger(client, queue)
    reservation = await ledger.reserve(BUDGET, 60)
    assert [await ledger.settle(reservation, 100, 0, again=again) for again in (False, True, True)] == [
        True,
        False,
        False,
    ]
    given_back = await ledger.reserve(BUDGET, 60)
    assert [await ledger.release(given_back), await ledger.release(given_back, again=True)] == [True, False]
    assert not await ledger.settle(given_back, 100, 0, again=True)
    usage = await ledger.usage(BUDGET)
    assert (usage.total, usage.reserved) == (100, 0)


async def test_a_reservation_of_nothing_can_be_settled(client: Client, queue: QueueKeys) -> None:
    ledger = TokenLedger(client, queue)
    assert await ledger.settle(await ledger.reserve(BUDGET, 60, tokens=0), 5, 0)
    usage = await ledger.usage(BUDGET)
    assert (usage.total, usage.reserved) == (5, 0)


async def test_a_cost_whose_reservation_was_lost_with_a_server_is_written_down(
    client: Client, queue: QueueKeys
) -> None:
    ledger = TokenLedger(client, queue)
    lost = await ledger.reserve(BUDGET, 60)
    await client.delete(queue.tokens, f"{queue.tokens}:log", f"{queue.tokens}:reserved")  # as after a failover
    twin = await ledger.reserve(BUDGET, 60)
    assert twin.number == lost.number
    assert await ledger.settle(lost, 300, 0)
    assert await ledger.settle(twin, 500, 0)
    usage = await ledger.usage(BUDGET)
    assert (usage.total, usage.reserved) == (800, 0)


async def test_a_call_that_does_not_fit_is_refused_with_the_moment_at_which_it_will(
    client: Client, queue: QueueKeys
) -> None:
    ledger = TokenLedger(client, queue)
    for tokens, ago in ((600, 5000), (600, 4000), (8000, 0)):
        await spend(ledger, tokens, 0)
        await age_ledger(client, queue, ago)
    # 9,200 are spent; a call of 1,000 fits when 200 have left, with the first 600: 9,000 s old by now.
    with pytest.raises(BudgetExceeded, match="1000 tokens do not fit into the limit of 10000") as caught:
        await ledger.reserve(BUDGET, 60)
    expected = datetime.now(UTC) + timedelta(seconds=DAY - 9000)
    assert caught.value.restored_at is not None
    assert abs((caught.value.restored_at - expected).total_seconds()) < 30
    assert not caught.value.passes_soon
    usage = await ledger.usage(BUDGET)
    assert (usage.exceeded, usage.restored_at) == (True, caught.value.restored_at)
    assert (await ledger.reserve(BUDGET, 60, tokens=800)).tokens == 800
    await age_ledger(client, queue, DAY - 9000 + 2)
    assert not (await ledger.usage(BUDGET)).exceeded


async def test_reservations_of_others_pass_soon_and_do_not_count_as_exceeded(client: Client, queue: QueueKeys) -> None:
    ledger = TokenLedger(client, queue)
    reservations = [await ledger.reserve(BUDGET, 60) for _ in range(10)]
    with pytest.raises(BudgetExceeded, match="once running calls settle for less") as caught:
        await ledger.reserve(BUDGET, 60)
    assert (caught.value.passes_soon, caught.value.restored_at, caught.value.reserved) == (True, None, 10_000)
    assert not (await ledger.usage(BUDGET)).exceeded
    await ledger.settle(reservations[0], 10, 0)
    with pytest.raises(BudgetExceeded):
        await ledger.reserve(BUDGET, 60)
    await ledger.release(reservations[1])
    await ledger.reserve(BUDGET, 60, tokens=990)


async def test_a_call_above_the_limit_never_fits(client: Client, queue: QueueKeys) -> None:
    ledger = TokenLedger(client, queue)
    with pytest.raises(BudgetExceeded, match="never fit: the call alone is above the limit") as caught:
        await ledger.reserve(Budget(500, 501), 60)
    assert (caught.value.restored_at, caught.value.passes_soon) == (None, False)
    usage = await ledger.usage(Budget(500, 501))
    assert (usage.exceeded, usage.restored_at) == (True, None)


async def test_without_a_limit_everything_fits_and_is_written_down(client: Client, queue: QueueKeys) -> None:
    ledger, free = TokenLedger(client, queue), Budget(None, 10**9)
    await spend(ledger, 10**12, 10**12, free)
    usage = await ledger.usage(free)
    assert (usage.total, usage.exceeded) == (2 * 10**12, False)
    assert (await ledger.usage(BUDGET)).exceeded, "a limit that is set later takes effect at once"


async def test_a_dead_workers_reservation_is_back_after_its_time(client: Client, queue: QueueKeys) -> None:
    ledger = TokenLedger(client, queue)
    lost = [await ledger.reserve(BUDGET, 90) for _ in range(10)]
    await age_ledger(client, queue, 89)
    assert (await ledger.usage(BUDGET)).reserved == 10_000
    await age_ledger(client, queue, 2)
    assert (await ledger.usage(BUDGET)).reserved == 0
    late = aged(lost[0], 91)
    assert await ledger.settle(late, 700, 0), "a worker that was only slow: it counts as it was"
    assert (await ledger.usage(BUDGET)).total == 700


def aged(reservation: Reservation, seconds: int) -> Reservation:
    return replace(reservation, ends_ms=reservation.ends_ms - seconds * 1000)


async def test_many_workers_at_once_never_pass_the_limit(client: Client, queue: QueueKeys) -> None:
    budget, chance = Budget(200_000, 4_000), random.Random(7)
    ledger = TokenLedger(client, queue)
    refused = 0

    async def work() -> None:
        nonlocal refused
        for _ in range(30):
            try:
                reservation = await ledger.reserve(budget, 60)
            except BudgetExceeded:
                refused += 1
                continue
            await asyncio.sleep(chance.uniform(0, 0.005))
            cost = chance.randrange(4_001)
            if chance.random() < 0.9:  # the others die
                await ledger.settle(reservation, cost // 3, cost - cost // 3)
            usage = await ledger.usage(budget)
            assert usage.total + usage.reserved <= 200_000

    async with asyncio.TaskGroup() as group:
        for _ in range(20):
            group.create_task(work())
    assert refused > 0
    assert (await ledger.usage(budget)).total <= 200_000


@pytest.mark.parametrize("seed", range(8))
async def test_the_window_is_that_of_an_exact_model_over_three_days(
    client: Client, queue: QueueKeys, seed: int
) -> None:
    """Times move by what is stored being made older; the model has every call with its moment."""
    chance = random.Random(seed)
    ledger = TokenLedger(client, queue)
    budget = Budget(None, 1000)
    calls: list[tuple[float, int]] = []
    """Age of each call in seconds, and its tokens."""
    passed = 0.0
    while passed < 3 * DAY:
        step = chance.choice((0, 0, 1, chance.randrange(100), chance.randrange(DAY // 10), chance.randrange(DAY)))
        await age_ledger(client, queue, step)
        calls = [(age + step, tokens) for age, tokens in calls]
        passed += step + 1
        tokens = chance.randrange(1000)
        began = asyncio.get_running_loop().time()
        await spend(ledger, tokens, tokens // 2, budget)
        calls.append((0.0, tokens + tokens // 2))
        usage = await ledger.usage(budget)
        # What the test itself has taken makes every call a little older than the model says.
        slack = asyncio.get_running_loop().time() - began + 60
        least = sum(tokens for age, tokens in calls if age < DAY - slack)
        most = sum(tokens for age, tokens in calls if age <= DAY + 2)
        assert least <= usage.total <= most
        assert usage.reserved == 0


async def test_the_window_is_exact_to_the_second_and_never_too_low(client: Client, queue: QueueKeys) -> None:
    ledger = TokenLedger(client, queue)
    seen: list[int] = []
    for _ in range(50):
        await client.flushall()
        began = (await client.time())[0]
        await spend(ledger, 500, 0)
        seen = []
        for step in (DAY - 5, 5, 1):
            await age_ledger(client, queue, step)
            seen.append((await ledger.usage(BUDGET)).total)
        if (await client.time())[0] == began:
            break  # all of it in one second of the server's
    assert seen == [500, 500, 0], (
        "made at the end of its second, a call of that second is not a day old before the next"
    )


async def test_a_second_is_one_entry_and_a_day_that_is_over_leaves_nothing(client: Client, queue: QueueKeys) -> None:
    ledger = TokenLedger(client, queue)
    for _ in range(200):
        await spend(ledger, 1, 1, Budget(None, 10))
    assert await client.llen(f"{queue.tokens}:log") <= 10
    assert (await ledger.usage(BUDGET)).total == 400
    await age_ledger(client, queue, DAY + 2)
    assert (await ledger.usage(BUDGET)).total == 0
    assert await client.llen(f"{queue.tokens}:log") == 0


async def test_many_usages_are_one_pipeline_and_one_bad_key_is_its_own_error(
    each_client: Client, queue: QueueKeys
) -> None:
    other = QueueKeys.for_agent("default", "other")
    broken = QueueKeys.for_agent("default", "broken")
    await spend(TokenLedger(each_client, queue), 10, 0)
    await each_client.execute_command("SET", broken.tokens, "x")
    first, second, third = await read_usages(each_client, [(queue, BUDGET), (broken, BUDGET), (other, BUDGET)])
    assert not isinstance(first, Exception)
    assert first.total == 10
    assert "default/broken" in str(second)
    assert not isinstance(third, Exception)
    assert third.total == 0


async def test_a_redis_that_is_not_there_is_an_error_and_no_permission(queue: QueueKeys) -> None:
    client = connect(f"redis://127.0.0.1:{free_port()}/0", timeout=1.0)
    try:
        with pytest.raises(RedisUnavailable):
            await TokenLedger(client, queue).reserve(BUDGET, 60)
        with pytest.raises(RedisUnavailable):
            await read_usages(client, [(queue, BUDGET)])
    finally:
        await client.aclose()


@pytest.mark.parametrize(("spent_in", "spent_out"), [(-1, 0), (0, -1)])
async def test_negative_costs_are_refused(client: Client, queue: QueueKeys, spent_in: int, spent_out: int) -> None:
    ledger = TokenLedger(client, queue)
    with pytest.raises(ValueError, match="cannot cost"):
        await ledger.settle(Reservation(1, 1, 0), spent_in, spent_out)
    with pytest.raises(ValueError, match="cannot be reserved"):
        await ledger.reserve(BUDGET, 60, tokens=-5)


async def test_who_may_only_read_sees_the_same_and_leaves_it_as_it_is(
    each_redis: RedisServer, each_client: Client, queue: QueueKeys
) -> None:
    ledger = TokenLedger(each_client, queue)
    for _ in range(600):  # more than a page, each in a second of its own
        await spend(ledger, 7, 3, Budget(None, 10))
        await age_ledger(each_client, queue, 1)
    await ledger.reserve(BUDGET, 60)
    await age_ledger(each_client, queue, DAY - 300)
    before = await each_client.lrange(f"{queue.tokens}:log", 0, -1)
    rules = "on >secret ~ark:* -@all +ping +time +hmget +lindex +lrange +zrangebyscore +eval +evalsha +client|setname"
    each_redis.command("ACL", "SETUSER", "reader", *rules.split())
    reader = connect(f"redis://reader:secret@127.0.0.1:{each_redis.port}/0")
    try:
        tight = Budget(3500, 1000)
        seen = await TokenLedger(reader, queue).usage(tight)
        assert await each_client.lrange(f"{queue.tokens}:log", 0, -1) == before
        known = await ledger.usage(tight)
    finally:
        await reader.aclose()
        each_redis.command("ACL", "DELUSER", "reader")
    assert len(before) > 590
    assert 0 < known.total < 6000
    assert abs(seen.total - known.total) <= 20, "a second may have passed between the two"
    assert (seen.reserved, known.reserved) == (0, 0)
    if seen.total == known.total:
        assert (seen.exceeded, seen.restored_at) == (known.exceeded, known.restored_at)
