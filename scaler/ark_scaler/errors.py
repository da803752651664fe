"""What the scaler refuses, each with the gRPC status that a KEDA user sees."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

import grpc

_LONGEST_SHOWN = 500
"""Characters of a key or value."""


class Refusal(Exception):
    """A request that is answered with an error; the message is what the ScaledObject's Ready condition shows."""

    code = grpc.StatusCode.INVALID_ARGUMENT


class UnknownKey(Refusal):
    """The trigger's metadata has a key that means nothing here."""

    def __init__(self, key: str, allowed: Iterable[str]) -> None:
        names = sorted(allowed)
        close = get_close_matches(key[:_LONGEST_SHOWN], names, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        super().__init__(f"trigger metadata has the unknown key {_shown(key)}: {hint}allowed are {', '.join(names)}")


class BadValue(Refusal):
    """A key of the trigger's metadata has a value that is not allowed."""

    def __init__(self, key: str, value: str, allowed: str) -> None:
        super().__init__(f"trigger metadata {key} is {_shown(value)}: {allowed}")


def _shown(text: str) -> str:
    """Return a text as it is named in an answer, which gRPC takes up to 8 kB of."""
    return repr(text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}...")


class BadMetadata(Refusal):
    """The trigger's metadata contradicts itself, or lacks something."""


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
