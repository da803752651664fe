"""The entry format that other producers rely on: the test vectors of the documentation hold."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from ark_taskqueue import Client, Consumer, Outcome, Producer, QueueKeys

VECTORS = json.loads((Path(__file__).resolve().parents[3] / "docs" / "reference" / "entries.json").read_text())
NAMES = {name: [vector["about"] for vector in VECTORS[name]] for name in VECTORS}


@pytest.mark.parametrize("vector", VECTORS["tasks"], ids=NAMES["tasks"])
async def test_a_worker_reads_an_entry_as_documented(
    each_client: Client, queue: QueueKeys, vector: dict[str, Any]
) -> None:
    await each_client.execute_command("XADD", vector["stream"], vector["id"], *vector["entry"])
    [task] = await Consumer(each_client, queue, "w").claim(1)
    expected = vector["task"]
    assert {name: getattr(task, name) for name in expected} == expected
    names = vector["entry"][::2]
    assert dict(task.fields) == dict(zip(names, vector["entry"][1::2], strict=True))


@pytest.mark.parametrize("vector", [vector for vector in VECTORS["tasks"] if "submit" in vector])
async def test_our_own_producer_writes_it_as_documented(
    client: Client, queue: QueueKeys, vector: dict[str, Any]
) -> None:
    submission = await Producer(client, queue).submit(**vector["submit"])
    [[entry_id, fields]] = await client.execute_command("XRANGE", vector["stream"], "-", "+")
    assert [part.decode() for item in fields.items() for part in item] == vector["entry"]
    assert submission.task_id == vector["task"]["id"].replace(vector["id"], entry_id.decode())


@pytest.mark.parametrize("vector", VECTORS["results"], ids=NAMES["results"])
async def test_a_result_is_read_as_documented(client: Client, queue: QueueKeys, vector: dict[str, Any]) -> None:
    await client.execute_command("HSET", vector["key"], *vector["stored"])
    result = await Producer(client, queue).result(vector["result"]["task_id"])
    assert result is not None
    assert asdict(result) == vector["result"]


async def test_what_workers_store_has_the_documented_fields(client: Client, queue: QueueKeys) -> None:
    producer, worker = Producer(client, queue), Consumer(client, queue, "w")
    for vector in VECTORS["results"]:
        task_id, status = (await producer.submit("x")).task_id, vector["result"]["status"]
        [task] = await worker.claim(1)
        if status == "completed":
            assert await worker.complete(task, Outcome("y", 1, 2, "end_turn"), 0.1)
        elif status == "dead":
            await worker.fail(task, "boom", final=True)
        else:
            await producer.cancel(task_id)
        stored = await client.execute_command("HGETALL", queue.result(task_id))
        assert {name.decode() for name in stored} == set(vector["stored"][::2])
