"""The same queue over every way to reach Redis."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import trustme

from ark_taskqueue import (
    Client,
    Consumer,
    Outcome,
    Producer,
    QueueKeys,
    RedisUnavailable,
    TaskQueueError,
    connect,
    read_depth,
    read_depths,
)
from hack.local.process import free_port
from hack.local.proxy import Proxy
from hack.local.redis_server import RedisServer
from hack.local.redis_topology import cluster_setup, sentinel_setup
from tests.eventually import eventually


async def works(client: Client, queue: QueueKeys) -> None:
    """Play a task's whole life."""
    producer, worker = Producer(client, queue), Consumer(client, queue, "w")
    task_id = (await producer.submit("hello", idempotency_key="once")).task_id
    assert (await read_depth(client, queue)).waiting == 1
    [task] = await worker.claim(1)
    assert await worker.renew([task]) == []
    await worker.give_back([task])
    [task] = await worker.claim(1)
    assert await worker.complete(task, Outcome("done"), 0.1)
    result = await producer.result(task_id)
    assert result is not None
    assert result.output == "done"
    assert await worker.reclaim(interval_seconds=0) is not None
    assert await worker.wait_for_new(1, 0.01) == []
    await worker.retire()


@pytest.fixture
def authority(tmp_path: Path) -> tuple[trustme.CA, Path]:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    return ca, tmp_path


async def test_by_a_socket_file(folder: Path, queue: QueueKeys) -> None:
    socket = folder / "r.sock"
    with RedisServer(folder / "redis", options=["--unixsocket", str(socket)]):
        client = connect(f"unix://{socket}")
        await works(client, queue)
        await client.aclose()


async def test_as_an_acl_user_with_a_password_of_special_characters(
    redis_server: RedisServer, queue: QueueKeys
) -> None:
    redis_server.command("ACL", "SETUSER", "team:a", "on", ">p@ss/w:rd%", "~ark:{default/*", "+@all", "-@dangerous")
    try:
        client = connect(f"redis://team%3Aa:p%40ss%2Fw%3Ard%25@127.0.0.1:{redis_server.port}/0")
        await works(client, queue)
        await client.aclose()
        wrong = connect(f"redis://team%3Aa:wrong@127.0.0.1:{redis_server.port}/0")
        with pytest.raises(RedisUnavailable, match=r"(?i)invalid username-password|wrongpass"):
            await read_depth(wrong, queue)
        await wrong.aclose()
    finally:
        redis_server.command("ACL", "DELUSER", "team:a")


async def test_with_tls_and_a_client_certificate(
    redis_server: RedisServer, queue: QueueKeys, authority: tuple[trustme.CA, Path]
) -> None:
    ca, folder = authority
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("localhost", "127.0.0.1").configure_cert(server_side)
    ca.configure_trust(server_side)
    server_side.verify_mode = ssl.CERT_REQUIRED
    own = ca.issue_cert("worker")
    own.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    own.private_key_pem.write_to_path(folder / "key.pem")
    async with Proxy(redis_server.port, tls=server_side) as proxy:
        url = f"rediss://localhost:{proxy.port}?ssl_ca_certs={folder}/ca.pem"
        client = connect(f"{url}&ssl_certfile={folder}/cert.pem&ssl_keyfile={folder}/key.pem")
        await works(client, queue)
        await client.aclose()
        for refused in (url, f"rediss://localhost:{proxy.port}"):
            stranger = connect(refused, timeout=5)
            with pytest.raises(RedisUnavailable):
                await read_depth(stranger, queue)
            await stranger.aclose()


async def test_over_a_cluster_with_queues_in_many_slots(folder: Path) -> None:
    with cluster_setup(folder) as nodes:
        client = connect(f"redis+cluster://127.0.0.1:{nodes[0].port},127.0.0.1:{nodes[1].port}")
        queues = [QueueKeys.for_agent("default", f"agent-{number}") for number in range(20)]
        await works(client, queues[0])
        for number, queue in enumerate(queues):
            for _ in range(number):
                await Producer(client, queue).submit("x")
        depths = await read_depths(client, queues)
        assert [depth.demand for depth in depths] == list(range(20))  # type: ignore[union-attr]
        await client.aclose()


async def test_while_a_slot_moves_its_queues_are_unavailable_and_the_error_says_why(folder: Path) -> None:
    queue = QueueKeys.for_agent("default", "writer")
    with cluster_setup(folder) as nodes:
        client = connect(f"redis+cluster://127.0.0.1:{nodes[0].port}")
        task_id = (await Producer(client, queue).submit("x")).task_id
        slot = nodes[0].command("CLUSTER", "KEYSLOT", queue.stream).decode().strip(":\r\n")
        ids = {node: node.command("CLUSTER", "MYID").split(b"\r\n")[1].decode() for node in nodes}
        source = next(node for node in nodes if node.command("EXISTS", queue.stream) == b":1\r\n")
        target = next(node for node in nodes if node is not source)
        target.command("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[source])
        source.command("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[target])
        worker = Consumer(client, queue, "w")
        # The stream has moved, and the keys that were not there are looked for at both: Redis answers ASK or TRYAGAIN.
        assert b"OK" in source.command("MIGRATE", "127.0.0.1", str(target.port), queue.stream, "0", "5000")
        told = "while its slot is being moved"
        with pytest.raises(RedisUnavailable, match=told):
            await worker.reclaim(interval_seconds=0)
        with pytest.raises(RedisUnavailable, match=told):
            await read_depth(client, queue)
        unreadable, other = await read_depths(client, [queue, QueueKeys.for_agent("other", "agent")])
        assert (isinstance(unreadable, RedisUnavailable), told in str(unreadable)) == (True, True)
        assert not isinstance(other, Exception)
        for node in nodes:
            node.command("CLUSTER", "SETSLOT", slot, "NODE", ids[target])

        async def there() -> bool:
            try:
                return (await read_depth(client, queue)).demand == 1
            except RedisUnavailable:
                return False

        await eventually(there, "the queue on its new node")
        assert [task.id for task in await worker.claim(1)] == [task_id]
        await client.aclose()


async def test_by_sentinels_the_new_primary_is_found_after_a_failover(folder: Path, queue: QueueKeys) -> None:
    with sentinel_setup(folder) as setup:
        client = connect(setup.url, timeout=2)
        await works(client, queue)
        submission = await Producer(client, queue).submit("kept")
        await eventually(
            lambda: setup.replica.command("XLEN", queue.stream) == b":1\r\n", "the replica's copy of the task"
        )
        setup.fail_over()

        async def found() -> bool:
            try:
                [task] = await Consumer(client, queue, "w").claim(1)
            except RedisUnavailable:
                return False
            return task.id == submission.task_id

        await eventually(found, "the claim from the new primary")
        await client.aclose()


async def test_by_sentinels_a_server_that_is_no_primary_is_not_used(folder: Path, queue: QueueKeys) -> None:
    """A Sentinel that lags behind names the old primary, whose queues look emptier than they are."""
    with sentinel_setup(folder) as setup:
        client = connect(setup.url, timeout=2)
        assert (await read_depth(client, queue)).demand == 0
        await client.aclose()
        setup.sentinel.command("SENTINEL", "REMOVE", "mymaster")
        setup.sentinel.command("SENTINEL", "MONITOR", "mymaster", "127.0.0.1", str(setup.replica.port), "1")
        stale = connect(setup.url, timeout=2)
        with pytest.raises(RedisUnavailable):
            await read_depth(stale, queue)
        await stale.aclose()


async def test_nobody_there_is_an_error_that_says_where(queue: QueueKeys) -> None:
    port = free_port()
    for url in (
        f"redis://127.0.0.1:{port}",
        f"redis+sentinel://127.0.0.1:{port}/m",
        f"redis+cluster://127.0.0.1:{port}",
    ):
        client = connect(url, timeout=1)
        with pytest.raises(RedisUnavailable):
            await Producer(client, queue).submit("x")
        await client.aclose()


async def test_every_acknowledged_task_survives_a_crash_of_a_persistent_server(folder: Path, queue: QueueKeys) -> None:
    with RedisServer(folder, persistent=True) as server:
        client = connect(server.url, timeout=2)
        producer, worker = Producer(client, queue), Consumer(client, queue, "w")
        ids = [(await producer.submit(str(i))).task_id for i in range(20)]
        held = await worker.claim(5)
        await worker.complete(held[0], Outcome(""), 0.1)
        server.kill()
        with pytest.raises(RedisUnavailable):
            await producer.submit("lost")
        server.start()
        found = await read_depth(client, queue)
        assert (found.waiting, found.in_flight) == (15, 4)
        assert await worker.complete(held[1], Outcome(""), 0.1)
        await worker.give_back(held[2:])
        assert [task.id for task in await worker.claim(99)] == ids[2:]
        await client.aclose()


async def test_no_error_repeats_what_redis_was_sent(folder: Path, queue: QueueKeys) -> None:
    """Redis quotes the arguments of a command that it does not know, and those of AUTH are user and password."""
    with RedisServer(folder, options=["--rename-command", "AUTH", ""]) as server:
        client = connect(server.url.replace("redis://", "redis://user:S3cret-99@"))
        with pytest.raises(TaskQueueError) as caught:
            await read_depth(client, queue)
        await client.aclose()
    assert "AUTH" in str(caught.value)
    assert "S3cret" not in str(caught.value)
