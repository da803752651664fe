"""KEDA's calls on a healthy Redis: values, statuses and messages."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from ark_scaler.wire import externalscaler_pb2 as wire
from ark_taskqueue import Client, Consumer, Outcome, QueueKeys
from hack.local.redis_server import RedisServer
from tests.eventually import eventually
from tests.scaler.keda import Keda, add_task, failure, scaler_and_keda, watched


@pytest.fixture
async def keda(redis_server: RedisServer) -> AsyncIterator[Keda]:
    async with scaler_and_keda(redis=redis_server.url, allow_streams="*=agent-tasks") as (_, keda):
        yield keda


async def test_demand_follows_a_task_through_its_life(keda: Keda, client: Client, queue: QueueKeys) -> None:
    reference = keda.reference()
    worker = Consumer(client, queue, "w")
    seen = [(await keda.is_active(reference), await keda.metric(reference))]
    for _ in range(3):
        await add_task(client)
    seen.append((await keda.is_active(reference), await keda.metric(reference)))
    tasks = await worker.claim(3)
    seen.append((await keda.is_active(reference), await keda.metric(reference)))
    for task in tasks:
        await worker.complete(task, Outcome(""), 1.0)
    seen.append((await keda.is_active(reference), await keda.metric(reference)))
    assert seen == [(False, 0), (True, 3), (True, 3), (False, 0)]


async def test_the_spec_is_the_metadatas(keda: Keda) -> None:
    assert await keda.spec(keda.reference()) == ("ark-demand", 5, 5.0)
    assert await keda.spec(keda.reference(tasksPerReplica="12", targetWaitSeconds="3")) == ("ark-demand", 12, 12.0)


async def test_a_wait_target_asks_for_fewer_slots(keda: Keda, client: Client, queue: QueueKeys) -> None:
    worker = Consumer(client, queue, "w")
    await add_task(client)
    await worker.complete((await worker.claim(1))[0], Outcome(""), 2.0)
    for _ in range(9):
        await add_task(client)
    await worker.claim(1)
    assert await keda.metric(keda.reference(targetWaitSeconds="10")) == pytest.approx(1 + 8 * 0.2)
    assert await keda.metric(keda.reference()) == 9


async def test_a_stream_and_group_of_another_name(keda: Keda, client: Client) -> None:
    await client.execute_command("XGROUP", "CREATE", "agent-tasks", "crew", "0", "MKSTREAM")
    for _ in range(4):
        await client.execute_command("XADD", "agent-tasks", "*", "prompt", "x")
    await client.execute_command("XREADGROUP", "GROUP", "crew", "w", "COUNT", 1, "STREAMS", "agent-tasks", ">")
    reference = wire.ScaledObjectRef(
        name="x", namespace="team", scalerMetadata={"stream": "agent-tasks", "group": "crew"}
    )
    assert await keda.metric(reference) == 4


@pytest.mark.parametrize(
    ("reference", "code", "message"),
    [
        (Keda.reference(tasksPerReplica="zero"), "INVALID_ARGUMENT", "tasksPerReplica is 'zero'"),
        (Keda.reference(tasksPerReplica="0"), "INVALID_ARGUMENT", "tasksPerReplica is '0'"),
        (Keda.reference(activationTasks="-1"), "INVALID_ARGUMENT", "activationTasks is '-1'"),
        (Keda.reference(replicas="5"), "INVALID_ARGUMENT", "unknown key 'replicas'"),
        (Keda.reference("writer"), "INVALID_ARGUMENT", "queue is 'writer'"),
        (Keda.reference(redis="eu"), "INVALID_ARGUMENT", "redis is 'eu': the scaler knows the connections default"),
        (Keda.reference("other/writer"), "PERMISSION_DENIED", "namespace 'default' may not read the stream"),
        (Keda.reference(namespace=""), "PERMISSION_DENIED", "namespace '' may not read"),
    ],
)
async def test_bad_metadata_is_refused_with_one_line(
    keda: Keda, reference: wire.ScaledObjectRef, code: str, message: str
) -> None:
    calls = (
        keda.stub.IsActive(reference),
        keda.stub.GetMetrics(wire.GetMetricsRequest(scaledObjectRef=reference, metricName="ark-demand")),
        keda.stream(reference).read(),
    )
    for call in calls:
        found_code, found_message = await failure(call)
        assert found_code == code
        assert message in found_message
        assert "\n" not in found_message
    # KEDA drops an error of this call; a metric's name that the API server refuses reaches the user.
    name, _, target = await keda.spec(reference)
    assert message in name
    assert "/" in name
    assert target > 0


async def test_a_key_that_is_no_stream_is_said_so(keda: Keda, client: Client, queue: QueueKeys) -> None:
    await client.execute_command("SET", queue.stream, "x")
    code, message = await failure(keda.is_active(keda.reference()))
    assert (code, "ark:{default/writer}:tasks is not a stream" in message) == ("FAILED_PRECONDITION", True)
    await client.execute_command("DEL", queue.stream)
    assert not await keda.is_active(keda.reference())


async def test_stream_metric_spec_is_left_unimplemented_and_nobody_is_alarmed(
    keda: Keda, caplog: pytest.LogCaptureFixture
) -> None:
    """The answer of gRPC itself for a method that is not there logs an error with a traceback, on every call."""
    code, _ = await failure(keda.stub.StreamMetricSpec(keda.reference()).read())
    assert code == "UNIMPLEMENTED"
    assert not caplog.records


async def test_health_says_serving(keda: Keda) -> None:
    checker = health_pb2_grpc.HealthStub(keda.channel)

    async def serving() -> bool:
        request = health_pb2.HealthCheckRequest(service="externalscaler.ExternalScaler")
        return bool((await checker.Check(request)).status == health_pb2.HealthCheckResponse.SERVING)

    await eventually(serving, "health SERVING")


async def test_reflection_names_the_service(keda: Keda) -> None:
    asked = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
    [answer] = [a async for a in reflection_pb2_grpc.ServerReflectionStub(keda.channel).ServerReflectionInfo(asked)]
    names = {service.name for service in answer.list_services_response.service}
    assert {"externalscaler.ExternalScaler", "grpc.health.v1.Health"} <= names


async def test_idle_watched_queues_cost_redis_nothing(keda: Keda, client: Client) -> None:
    references = [keda.reference(f"default/agent-{number}") for number in range(50)]
    for reference in references:
        await keda.metric(reference)
    await watched(client)

    async def reads() -> int:
        statistics = await client.info("commandstats")
        return sum(int(stats["calls"]) for name, stats in statistics.items() if "evalsha" in name or "eval" in name)

    # The last queues may still be on their way into the watch.
    async def polled_without_a_read() -> bool:
        before = await reads()
        for reference in references:
            assert await keda.metric(reference) == 0
            assert not await keda.is_active(reference)
        return await reads() == before

    await eventually(polled_without_a_read, "a poll of all queues without a read")
