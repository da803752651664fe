"""Spans of a worker, with OpenTelemetry; off unless the settings say so, and then an extra of this project is needed.

For each attempt at a task: how long it waited (from submission to claim), the attempt itself, and in it each LLM call.
All are below the span of whoever submitted the task, whose context is in the entry. Names and attributes are those of
OpenTelemetry's semantic conventions for messaging and for generative AI; contents of prompts and answers are in none.
Where spans go is for OpenTelemetry's own variables to say (OTEL_EXPORTER_OTLP_ENDPOINT ...).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ark_agent.failures import shown
from ark_agent.providers import Reply, Request
from ark_agent.providers.errors import is_known_stop
from ark_taskqueue import QueueKeys, Task

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span

_MILLISECOND = 1_000_000
"""Nanoseconds."""


class TracingMissing(Exception):
    """OpenTelemetry is wanted and not installed; the message says what to install."""


class Attempt:
    """The span of an attempt; this one tells nobody."""

    def failed(self, error: BaseException) -> None:
        """The attempt did not come to a result."""


class Call:
    """The span of an LLM call; this one tells nobody."""

    def answered(self, reply: Reply) -> None:
        """The LLM answered."""


class Tracing:
    """Makes the spans of a worker; this one makes none."""

    @contextlib.contextmanager
    def attempt(self, task: Task) -> Iterator[Attempt]:
        """Be the span of an attempt at a task while the context is open."""
        del task
        yield Attempt()

    @contextlib.contextmanager
    def call(self, request: Request, output_tokens: int) -> Iterator[Call]:
        """Be the span of an LLM call while the context is open; an exception is its error.

        Args:
            request: what is asked.
            output_tokens: the most that the LLM may write.
        """
        del request, output_tokens
        yield Call()

    def close(self) -> None:
        """Send what is left; may take some seconds."""


def tracing_of(queue: QueueKeys, worker: str, provider: str) -> Tracing:
    """Return what sends spans to where OpenTelemetry's variables say.

    Args:
        queue: of the worker.
        worker: its name.
        provider: the LLM provider's name.

    Raises:
        TracingMissing: OpenTelemetry is not installed.
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 - an extra
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ImportError as error:
        raise TracingMissing(
            f"--tracing needs Python package {error.name!r}: install ark with the extra 'otel'"
        ) from None
    given = Resource.create()
    own = {"service.instance.id": worker}
    if not os.environ.get("OTEL_SERVICE_NAME"):
        own["service.name"] = "ark-agent"
    made = TracerProvider(resource=given.merge(Resource(own)))
    made.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return _Spans(made, queue, provider)


class _Spans(Tracing):
    def __init__(self, provider: TracerProvider, queue: QueueKeys, llm_provider: str) -> None:
        from opentelemetry import trace  # noqa: PLC0415
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

        self._api = trace
        self._made = provider
        self._tracer = provider.get_tracer("ark_agent")
        self._propagator = TraceContextTextMapPropagator()
        self._queue = queue.name
        self._llm_provider = llm_provider

    @contextlib.contextmanager
    def attempt(self, task: Task) -> Iterator[Attempt]:
        submitted = self._propagator.extract({"traceparent": task.traceparent or ""})
        about: dict[str, Any] = {
            "messaging.system": "redis",
            "messaging.destination.name": self._queue,
            "messaging.message.id": task.id,
            "ark.task.attempt": task.attempt,
        }
        doing = {**about, "messaging.operation.type": "process", "messaging.operation.name": "process"}
        kind = self._api.SpanKind.CONSUMER
        # An exception's text may quote a prompt: what is told of it is `_fail`'s to say.
        with self._tracer.start_as_current_span(
            f"process {self._queue}",
            context=submitted,
            kind=kind,
            attributes=doing,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            has_parent = self._api.get_current_span(submitted).get_span_context().is_valid
            waited = self._tracer.start_span(
                f"wait {self._queue}",
                context=submitted if has_parent else None,
                attributes=about,
                start_time=task.submitted_at_ms * _MILLISECOND,
            )
            waited.end(max(task.submitted_at_ms, task.claimed_at_ms) * _MILLISECOND)
            yield _AttemptSpan(span)

    @contextlib.contextmanager
    def call(self, request: Request, output_tokens: int) -> Iterator[Call]:
        about: dict[str, Any] = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": self._llm_provider,
            "gen_ai.request.model": request.model,
            "gen_ai.request.max_tokens": output_tokens,
        }
        name = f"chat {request.model}"
        kind = self._api.SpanKind.CLIENT
        with self._tracer.start_as_current_span(
            name, kind=kind, attributes=about, record_exception=False, set_status_on_exception=False
        ) as span:
            try:
                yield _CallSpan(span)
            except BaseException as error:
                _fail(span, error)
                raise

    def close(self) -> None:
        self._made.shutdown()


class _AttemptSpan(Attempt):
    def __init__(self, span: Span) -> None:
        self._span = span

    def failed(self, error: BaseException) -> None:
        _fail(self._span, error)


class _CallSpan(Call):
    def __init__(self, span: Span) -> None:
        self._span = span

    def answered(self, reply: Reply) -> None:
        stop = reply.stop if is_known_stop(reply.stop) else "other"
        found: dict[str, int | Sequence[str] | None] = {
            "gen_ai.usage.input_tokens": reply.input_tokens,
            "gen_ai.usage.output_tokens": reply.output_tokens,
            "gen_ai.response.finish_reasons": [stop] if reply.stop else None,
        }
        self._span.set_attributes({name: value for name, value in found.items() if value is not None})


def _fail(span: Span, error: BaseException) -> None:
    from opentelemetry.trace import Status, StatusCode  # noqa: PLC0415

    span.set_attribute("error.type", type(error).__name__)
    span.set_status(Status(StatusCode.ERROR, shown(error)))
