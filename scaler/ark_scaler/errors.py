"""What the scaler refuses, each with the gRPC status that a KEDA user sees."""

from __future__ import annotations

import grpc


class Refusal(Exception):
    """A request that is answered with an error; the message is what the ScaledObject's Ready condition shows."""

    code = grpc.StatusCode.INVALID_ARGUMENT


class BadMetadata(Refusal):
    """The trigger's metadata has a key or a value that is not allowed, contradicts itself, or lacks something."""


class Forbidden(Refusal):
    """A namespace asked for a queue that is not its own."""

    code = grpc.StatusCode.PERMISSION_DENIED

    def __init__(self, namespace: str, stream: str) -> None:
        super().__init__(
            f"namespace {namespace!r} may not read the stream {stream!r}: its own queues begin with "
            f"'ark:{{{namespace}/', any other must be allowed in the scaler's settings (--allow-streams)"
        )


class NothingKnown(Refusal):
    """Redis fails and no value is recent enough to be answered in its place."""

    code = grpc.StatusCode.UNAVAILABLE


class UnusableQueue(Refusal):
    """Redis answers that the queue cannot be read as it is; trying again will not help."""

    code = grpc.StatusCode.FAILED_PRECONDITION
