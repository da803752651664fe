"""Which namespace may read which queue.

Scaler and operator serve all namespaces of a cluster, and what they are asked for comes from whoever may write
ScaledObjects or ArkAgents. So a namespace reads the queues whose names say that they are its own; anything else must
be allowed in the server's settings.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, Self


class Queue(Protocol):
    """What is known of a queue by its name."""

    @property
    def stream(self) -> str:
        """Key of its stream of tasks."""

    @property
    def namespace(self) -> str | None:
        """The namespace that it belongs to; None where its name does not say."""


@dataclass(frozen=True, slots=True)
class StreamRule:
    """Namespaces that match a pattern may read the streams that match another."""

    namespaces: str
    streams: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse ``NAMESPACE=STREAM``; both may contain ``*``.

        Raises:
            ValueError: one of the two is missing.
        """
        namespaces, _, streams = (part.strip() for part in text.partition("="))
        if not namespaces or not streams:
            raise ValueError(f"{text!r} is not NAMESPACE=STREAM, for example 'team-a=agent-tasks' or '*=shared-*'")
        return cls(namespaces, streams)

    def allows(self, namespace: str, stream: str) -> bool:
        """Return whether this rule lets the namespace read the stream."""
        return _matches(self.namespaces, namespace) and _matches(self.streams, stream)


def _matches(pattern: str, name: str) -> bool:
    """Return whether a name matches a pattern in which only ``*`` is special.

    Streams' names may have any other character.

    Each part between two stars is looked for once, as early as it can be: a regular expression would go back and try
    again, and for ``*-*-*-v1`` and a long name take seconds.
    """
    first, *rest = pattern.split("*")
    if not rest:
        return pattern == name
    *middle, last = rest
    if len(name) < len(first) + len(last) or not name.startswith(first) or not name.endswith(last):
        return False
    at, end = len(first), len(name) - len(last)
    for part in middle:
        found = name.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return True


@dataclass(frozen=True, slots=True)
class Tenancy:
    """The rules of one server."""

    rules: tuple[StreamRule, ...] = ()

    @classmethod
    def of(cls, rules: Iterable[StreamRule]) -> Self:
        """Make the tenancy of a server's settings."""
        return cls(tuple(rules))

    def allows(self, namespace: str, queue: Queue) -> bool:
        """Return whether the namespace may read the queue."""
        if namespace and queue.namespace == namespace:
            return True
        return any(rule.allows(namespace, queue.stream) for rule in self.rules)


def parse_rules(text: str) -> tuple[StreamRule, ...]:
    """Parse ``NAMESPACE=STREAM`` items, separated by spaces.

    Raises:
        ValueError: an item is malformed.
    """
    return tuple(StreamRule.parse(item) for item in text.split())
