"""Spans of submission, wait, task and LLM call, as a local OTLP receiver gets them from real processes."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from ark_taskqueue import Client, Producer, QueueKeys
from hack.local.process import ChildProcess
from hack.local.redis_server import RedisServer
from tests.agent.test_program import agent, result_of
from tests.eventually import eventually

SUBMIT = """
import asyncio
import json
import sys

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from ark_taskqueue import Producer, QueueKeys, connect


async def main() -> None:
    provider = TracerProvider(resource=Resource({"service.name": "shop"}))
    provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    client = connect(sys.argv[1])
    with trace.get_tracer("shop").start_as_current_span("order"):
        await Producer(client, QueueKeys.for_queue("default/writer")).submit("hello", meta=json.loads(sys.argv[2]))
    await client.aclose()


asyncio.run(main())
"""


class Receiver:
    """What came by OTLP: spans by name, each with its service."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, Any]] = []
        self.url = ""

    async def take(self, request: web.Request) -> web.Response:
        """Take one export."""
        export = ExportTraceServiceRequest.FromString(await request.read())
        for resource in export.resource_spans:
            named = {a.key: a.value.string_value for a in resource.resource.attributes}
            for scope in resource.scope_spans:
                self.spans += [(named["service.name"], span) for span in scope.spans]
        return web.Response(content_type="application/x-protobuf", body=b"")

    def named(self, name: str) -> list[Any]:
        """Return the spans of a name."""
        return [span for _, span in self.spans if span.name == name]


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """Run a receiver."""
    receiver = Receiver()
    application = web.Application()
    application.router.add_post("/v1/traces", receiver.take)
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield receiver
    finally:
        await runner.cleanup()


@pytest.fixture
async def receiver(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Receiver]:
    """A receiver that the processes of a test send to."""
    async with receiving() as made:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", made.url)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
        yield made


def attributes(span: Any) -> dict[str, Any]:
    return {a.key: getattr(a.value, a.value.WhichOneof("value")) for a in span.attributes}


async def submit(folder: Path, redis: RedisServer, meta: str) -> None:
    """Submit a task from a process that has OpenTelemetry set up."""
    script = folder / "submit.py"
    script.write_text(SUBMIT)
    with ChildProcess([sys.executable, str(script), redis.url, meta], folder / "submit.log") as process:
        code = await asyncio.to_thread(process.wait, 60)
        assert code == 0, process.output()


async def test_a_task_has_one_trace_from_its_submission_to_its_llm_call(
    receiver: Receiver, redis_server: RedisServer, client: Client, queue: QueueKeys, tmp_path: Path
) -> None:
    await submit(tmp_path, redis_server, '{"input_tokens": 30, "output_tokens": 12}')
    await asyncio.sleep(0.05)  # a wait that can be seen
    with agent(tmp_path, redis_server, "w", model="echo", tracing=None):
        await eventually(lambda: len(receiver.spans) == 5, "five spans", 60)
    by_name = {span.name: (service, span) for service, span in receiver.spans}
    assert {name: service for name, (service, _) in by_name.items()} == {
        "order": "shop",
        "submit default/writer": "shop",
        "wait default/writer": "ark-agent",
        "process default/writer": "ark-agent",
        "chat echo": "ark-agent",
    }
    order, submitted, waited, done, called = (
        span
        for _, span in (
            by_name[n]
            for n in ("order", "submit default/writer", "wait default/writer", "process default/writer", "chat echo")
        )
    )
    assert {span.trace_id for _, span in receiver.spans} == {order.trace_id}
    assert submitted.parent_span_id == order.span_id
    assert (waited.parent_span_id, done.parent_span_id) == (submitted.span_id, submitted.span_id)
    assert called.parent_span_id == done.span_id
    assert waited.end_time_unix_nano - waited.start_time_unix_nano >= 50_000_000
    assert attributes(done)["messaging.destination.name"] == "default/writer"
    said = attributes(called)
    assert (said["gen_ai.operation.name"], said["gen_ai.provider.name"]) == ("chat", "echo")
    assert (said["gen_ai.request.model"], said["gen_ai.request.max_tokens"] > 0) == ("echo", True)
    assert (said["gen_ai.usage.input_tokens"], said["gen_ai.usage.output_tokens"]) == (30, 12)


async def test_a_failed_attempt_says_so_in_its_spans(
    receiver: Receiver, redis_server: RedisServer, client: Client, queue: QueueKeys, tmp_path: Path
) -> None:
    submission = await Producer(client, queue).submit("x", meta={"failing_attempts": 1})
    with agent(tmp_path, redis_server, "w", model="echo", tracing=None):
        assert (await result_of(client, queue, submission.task_id)).status == "completed"
        await eventually(lambda: len(receiver.named("process default/writer")) == 2, "two attempts", 60)
    first, second = sorted(receiver.named("process default/writer"), key=lambda s: s.start_time_unix_nano)
    assert [attributes(span)["ark.task.attempt"] for span in (first, second)] == [1, 2]
    assert (first.status.code, second.status.code) == (2, 0)
    failed = [span for span in receiver.named("chat echo") if span.status.code == 2]
    assert [attributes(span)["error.type"] for span in failed] == [attributes(first)["error.type"]]


async def test_nobody_listens_and_the_work_goes_on(
    redis_server: RedisServer, client: Client, queue: QueueKeys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with receiving() as gone:
        url = gone.url
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    with agent(tmp_path, redis_server, "w", model="echo", tracing=None) as process:
        submission = await Producer(client, queue).submit("x")
        assert (await result_of(client, queue, submission.task_id)).status == "completed"
        assert await asyncio.to_thread(process.stop, 60) == 0


async def test_without_a_set_up_a_submission_carries_what_the_caller_names(client: Client, queue: QueueKeys) -> None:
    named = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    producer = Producer(client, queue)
    await producer.submit("x", traceparent=named)
    await producer.submit("y")
    entries = await client.execute_command("XRANGE", queue.stream, "-", "+")
    assert [fields.get(b"traceparent") for _, fields in entries] == [named.encode(), None]


def test_a_worker_that_is_to_trace_without_the_packages_says_what_to_install(tmp_path: Path) -> None:
    hidden = "import sys; sys.modules['opentelemetry.sdk'] = None; from ark_agent.main import main; main()"
    flags = ["--tracing", "--queue=default/writer", "--name=w", "--model=echo"]
    with ChildProcess([sys.executable, "-c", hidden, *flags], tmp_path / "log") as process:
        assert process.wait(60) == 2
        assert "install ark with the extra 'otel'" in process.output()


def test_a_producer_needs_no_opentelemetry(redis_server: RedisServer, tmp_path: Path) -> None:
    script = """
import asyncio, sys
sys.modules["opentelemetry"] = None
from ark_taskqueue import Producer, QueueKeys, connect

async def main():
    client = connect(sys.argv[1])
    print((await Producer(client, QueueKeys.for_queue("default/writer")).submit("x")).is_new)
    await client.aclose()

asyncio.run(main())
"""
    with ChildProcess([sys.executable, "-c", script, redis_server.url], tmp_path / "log") as process:
        assert (process.wait(60), process.output().strip()) == (0, "True")
