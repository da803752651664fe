"""What an exception consists of: a TaskGroup raises those of its tasks as one."""

from __future__ import annotations

from collections.abc import Iterator


def leaves(error: BaseException) -> Iterator[BaseException]:
    """Yield the exceptions in a group, and in groups within it; any other exception is its own only leaf."""
    rest = [error]  # no recursion: groups may be nested deeper than Python's stack
    while rest:
        part = rest.pop()
        if isinstance(part, BaseExceptionGroup):
            rest.extend(reversed(part.exceptions))
        else:
            yield part
