"""Times as Kubernetes writes them: UTC, whole seconds."""

from __future__ import annotations

from datetime import UTC, datetime

_FORMAT = "%Y-%m-%dT%H:%M:%SZ"


def moment(text: str) -> datetime:
    """Parse a time.

    Raises:
        ValueError: it is none.
    """
    return datetime.strptime(text, _FORMAT).replace(tzinfo=UTC)


def written(time: datetime) -> str:
    """Return a time as text."""
    return time.astimezone(UTC).strftime(_FORMAT)
