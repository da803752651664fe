"""Two hundred workers on one cap, some of them killed. For a minute of it, and caps in a row: make bench NAME=cap."""

from __future__ import annotations

from ark_taskqueue import Client, TokenLedger
from hack.bench import cap
from hack.local.redis_server import RedisServer
from tests.taskqueue.moving_time import age_ledger


async def test_no_token_is_spent_over_the_cap_and_what_the_dead_reserved_comes_back(
    redis_server: RedisServer, client: Client
) -> None:
    given = cap.Round(redis_server.url, "cap", 300_000, 6.0)
    found = await cap.play(client, given, seed=1)
    assert found.killed > 0
    assert 100_000 < found.spent <= 300_000, "the cap was not even near"
    assert found.written <= found.spent
    assert found.highest <= 300_000
    await age_ledger(client, given.queue, int(given.reserved_seconds) + 1)
    usage = await TokenLedger(client, given.queue).usage(given.budget)
    assert (usage.total, usage.reserved) == (found.written, 0)
