"""The users of docs/reference/redis-acl.md, word for word: what each program does is permitted, and no more."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ark_taskqueue import (
    Budget,
    Client,
    Consumer,
    DeadLetters,
    Outcome,
    Producer,
    QueueKeys,
    RedisRefused,
    RetryPolicy,
    TokenLedger,
    connect,
    count_dead_letters,
    read_counts,
    read_demand,
    read_depth,
    read_recent_demand,
    read_server,
    read_usages,
)
from hack.local.redis_server import RedisServer
from hack.local.redis_topology import cluster_setup, sentinel_setup

PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "redis-acl.md").read_text()
WHAT_MAY_FAIL = {"client|setinfo", "evalsha"}
"""The library's name, which redis-py tells the server, and the ledger's reading by one who could also tidy it."""
BUDGET = Budget(10_000, 1000)


def documented(user: str, *further: str, keys: str = "ark:*") -> list[str]:
    """Return a user's rules as the page has them."""
    [rules] = re.findall(rf"^ACL SETUSER {user} (.*)$", PAGE, re.MULTILINE)
    return [rule.replace("ark:*", keys) for rule in [*rules.split(), *further]]


def further(where: str) -> list[str]:
    """Return what the page's table adds somewhere."""
    [row] = re.findall(rf"^\| {where} \| (.*) \|$", PAGE, re.MULTILINE)
    return re.findall(r"\+[\w|]+", row.split(";")[0].replace("\\|", "|"))


@contextmanager
def users(servers: list[RedisServer], rules: list[str], name: str = "limited") -> Iterator[str]:
    """Make a user on servers; gives its login."""
    for server in servers:
        answer = server.command("ACL", "SETUSER", name, *rules)
        assert answer.startswith(b"+OK"), answer
        server.command("ACL", "LOG", "RESET")
    try:
        yield f"{name}:password@"
        for server in servers:
            log = server.command("ACL", "LOG").decode()
            refused = set(re.findall(r"object\r\n\$\d+\r\n([^\r]+)", log)) - WHAT_MAY_FAIL
            assert not refused, "something was refused that a program does"
    finally:
        for server in servers:
            server.command("ACL", "DELUSER", name)


async def read(client: Client, queue: QueueKeys) -> None:
    """Do what scaler and operator do."""
    assert (await read_depth(client, queue)).demand >= 0
    [usage] = await read_usages(client, [(queue, BUDGET)])
    assert not isinstance(usage, Exception)
    assert await count_dead_letters(client, [queue]) == [0]
    [recent] = await read_recent_demand(client, [(queue, 60)])
    assert isinstance(recent, list)
    assert isinstance(await read_demand(client, queue), list)


async def work(client: Client, queue: QueueKeys) -> None:
    """Do what a worker does."""
    worker = Consumer(client, queue, "w", retries=RetryPolicy(max_failures=1))
    ledger = TokenLedger(client, queue)
    await worker.reclaim(0)
    [task] = await worker.claim(1)
    await worker.renew([task])
    await worker.give_back([task])
    [task] = await worker.claim(1)
    await worker.refuse(task, "no")
    [task] = await worker.claim(1)
    reservation = await ledger.reserve(BUDGET, 60)
    await ledger.settle(reservation, 10, 5)
    await ledger.usage(BUDGET)
    await worker.complete(task, Outcome("done"), 0.1)
    [bad] = await worker.wait_for_new(1, 0.1) or await worker.claim(1)
    assert (await worker.fail(bad, "boom")).outcome == "dead"
    await worker.reclaim(0)
    await worker.retire()


async def ask(client: Client, queue: QueueKeys) -> None:
    """Do what `kubectl ark` does."""
    producer, letters = Producer(client, queue), DeadLetters(client, queue)
    submission = await producer.submit("x", idempotency_key="k")
    assert await producer.is_queued(submission.task_id)
    assert await producer.result("1-0") is None
    await letters.list()
    await letters.requeue_all()
    await letters.delete_all()
    await read_counts(client, [queue])
    await read_demand(client, queue)
    await read(client, queue)
    await TokenLedger(client, queue).usage(BUDGET)


DOING = {"ark-scaler": read, "ark-operator": read, "ark-worker": work, "ark-cli": ask}


async def prepared(client: Client, queue: QueueKeys) -> None:
    for _ in range(2):
        await Producer(client, queue).submit("x")


@pytest.mark.parametrize("user", list(DOING))
async def test_the_list_of_each_program_is_enough_on_one_server(
    redis_server: RedisServer, queue: QueueKeys, user: str
) -> None:
    whole = connect(f"redis://127.0.0.1:{redis_server.port}/1")
    await prepared(whole, queue)
    await whole.aclose()
    with users([redis_server], documented(user, *further("a database other than 0"))) as login:
        limited = connect(f"redis://{login}127.0.0.1:{redis_server.port}/1")
        await DOING[user](limited, queue)
        if user == "ark-cli":
            await read_server(limited)
        await limited.aclose()


@pytest.mark.parametrize("user", ["ark-scaler", "ark-operator"])
async def test_who_only_reads_may_write_nothing(
    redis_server: RedisServer, client: Client, queue: QueueKeys, user: str
) -> None:
    await prepared(client, queue)
    redis_server.command("ACL", "SETUSER", "limited", *documented(user))
    try:
        limited = connect(f"redis://limited:password@127.0.0.1:{redis_server.port}")
        for attempt in (Producer(limited, queue).submit("x"), Consumer(limited, queue, "w").claim(1)):
            with pytest.raises(RedisRefused, match=r"(?i)permission"):
                await attempt
        await limited.aclose()
    finally:
        redis_server.command("ACL", "DELUSER", "limited")


async def test_a_tenant_reaches_its_own_queues_alone(redis_server: RedisServer, client: Client) -> None:
    own, others = QueueKeys.for_agent("team-a", "writer"), QueueKeys.for_agent("team-b", "writer")
    for queue in (own, others):
        await prepared(client, queue)
    with users([redis_server], documented("ark-worker", keys="ark:{team-a/*")) as login:
        limited = connect(f"redis://{login}127.0.0.1:{redis_server.port}")
        await work(limited, own)
        with pytest.raises(RedisRefused, match=r"(?i)permission"):
            await Consumer(limited, others, "w").claim(1)
        redis_server.command("ACL", "LOG", "RESET")
        await limited.aclose()


async def test_streams_of_other_names_need_their_keys(redis_server: RedisServer, client: Client) -> None:
    for stream, patterns in (("orders", ("~{orders}:*", "~orders")), ("jobs:{a}", ("~jobs:{a}", "~jobs:{a}:*"))):
        for pattern in patterns:
            assert f"`{pattern}`" in PAGE
        queue = QueueKeys.for_stream(stream)
        await prepared(client, queue)
        with users([redis_server], documented("ark-worker", *patterns)) as login:
            limited = connect(f"redis://{login}127.0.0.1:{redis_server.port}")
            await work(limited, queue)
            await limited.aclose()


@pytest.mark.parametrize("user", list(DOING))
async def test_behind_sentinels_the_role_is_asked_for(folder: Path, queue: QueueKeys, user: str) -> None:
    with sentinel_setup(folder) as setup:
        whole = connect(setup.url)
        await prepared(whole, queue)
        await whole.aclose()
        asking = re.findall(r"with `(\+ping [^`]*)`", PAGE)[0].replace("\\|", "|").split()
        with (
            users([setup.primary], documented(user, *further("Sentinel"))) as login,
            users([setup.sentinel], ["on", ">password", "resetkeys", "-@all", *asking], "finder"),
        ):
            url = setup.url.replace("://", f"://{login}")
            limited = connect(f"{url}?sentinel_username=finder&sentinel_password=password")
            await DOING[user](limited, queue)
            await limited.aclose()


@pytest.mark.parametrize("user", list(DOING))
async def test_in_a_cluster_the_slots_are_asked_for(folder: Path, queue: QueueKeys, user: str) -> None:
    with cluster_setup(folder) as nodes:
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in nodes)
        whole = connect(f"redis+cluster://{hosts}")
        await prepared(whole, queue)
        await whole.aclose()
        with users(nodes, documented(user, *further("Cluster"))) as login:
            limited = connect(f"redis+cluster://{login}{hosts}")
            await DOING[user](limited, queue)
            await limited.aclose()


@pytest.mark.parametrize("missing", ["no CLIENT", "CLIENT renamed"])
async def test_where_client_cannot_be_called_connections_have_no_name(
    folder: Path, queue: QueueKeys, missing: str
) -> None:
    options = ["--rename-command", "CLIENT", "HIDDEN"] if missing == "CLIENT renamed" else []
    with RedisServer(folder, options=options) as server:
        if not options:
            server.command("ACL", "SETUSER", "default", "-client")
        client = connect(server.url)
        await prepared(client, queue)
        await work(client, queue)
        await client.aclose()
