"""The span of a submission, with OpenTelemetry's API; without that package, or without a set-up of it, nothing happens.

The context travels in the entry's field ``traceparent`` (W3C Trace Context), so a task's trace begins at whoever
submitted it. Attributes: OpenTelemetry's semantic conventions for messaging.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from ark_taskqueue.keys import QueueKeys

try:
    from opentelemetry import trace
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
except ImportError:
    _IS_THERE = False
else:
    _IS_THERE = True

_FIELD = "traceparent"


@contextlib.contextmanager
def submission(queue: QueueKeys, traceparent: str | None) -> Iterator[str | None]:
    """Be the span of a submission while the context is open; gives what the entry's traceparent is to be.

    Args:
        queue: where to.
        traceparent: the context that the caller names; the current one where None.
    """
    if not _IS_THERE:
        yield traceparent
        return
    propagator = TraceContextTextMapPropagator()
    parent = propagator.extract({_FIELD: traceparent}) if traceparent else None
    attributes = {
        "messaging.system": "redis",
        "messaging.operation.type": "send",
        "messaging.operation.name": "submit",
        "messaging.destination.name": queue.name,
    }
    tracer = trace.get_tracer("ark_taskqueue")
    with tracer.start_as_current_span(
        f"submit {queue.name}", context=parent, kind=trace.SpanKind.PRODUCER, attributes=attributes
    ) as span:
        if not span.get_span_context().is_valid or not span.is_recording():
            yield traceparent  # nobody has set anything up
            return
        carrier: dict[str, str] = {}
        propagator.inject(carrier)
        yield carrier.get(_FIELD, traceparent)
