"""A task, its result and its dead letter, and how each is written in Redis."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from ark_taskqueue.priority import Priority, entry_of, priority_of

FIRST_ATTEMPT = 1
CLEAN_STOPS = frozenset({"end_turn", "stop", "stop_sequence"})
"""An LLM that stops for one of these (see `Outcome.stop`) has said all that it wants to say, if nothing."""
_ATTEMPT_DIGITS = 9


@dataclass(frozen=True, slots=True)
class Task:
    """One delivery of a task to one worker."""

    id: str
    """Id of the stream's entry, ``<milliseconds>-<sequence>``, with the priority before it where that is not normal."""
    delivery: int
    """How often the task has been delivered, this time included; with the consumer it is the fence."""
    claimed_at_ms: int
    """When it was claimed, by the server's clock, milliseconds since 1970."""
    fields: Mapping[str, str]
    """The entry as it was submitted: ``prompt`` or whatever the worker's handler reads."""
    alone: bool = False
    """Whether nothing else may be worked on beside it: its last worker died, perhaps of it."""
    refused: bool = False
    """Whether it was refused before, and has waited behind the others."""

    @property
    def priority(self) -> Priority:
        """The task's priority."""
        return priority_of(self.id)

    @property
    def prompt(self) -> str:
        """The field ``prompt``, empty where there is none."""
        return self.fields.get("prompt", "")

    @property
    def traceparent(self) -> str | None:
        """W3C trace context of the producer."""
        return self.fields.get("traceparent") or None

    @property
    def meta(self) -> Any:
        """The field ``meta``, parsed as JSON; an empty object where there is none.

        Raises:
            ValueError: the field is not JSON.
        """
        return json.loads(self.fields.get("meta") or "{}")

    @property
    def attempt(self) -> int:
        """Number of this attempt, 1 for the first. Deliveries that were given back do not count."""
        submitted_as = self.fields.get("attempt", "")
        sensible = submitted_as.isascii() and submitted_as.isdecimal() and len(submitted_as) <= _ATTEMPT_DIGITS
        first = int(submitted_as) if sensible else FIRST_ATTEMPT
        return max(first, FIRST_ATTEMPT) + self.delivery - 1

    @property
    def submitted_at_ms(self) -> int:
        """When it was submitted, by the server's clock, milliseconds since 1970."""
        return milliseconds_of(self.id)

    @property
    def waited_ms(self) -> int:
        """Time from submission to this claim, milliseconds."""
        return max(0, self.claimed_at_ms - self.submitted_at_ms)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a worker answers for a completed task."""

    output: str
    input_tokens: int = 0
    output_tokens: int = 0
    stop: str = ""
    """Why the LLM stopped, in its provider's words: ``max_tokens`` or ``length`` when the output was cut off."""


@dataclass(frozen=True, slots=True)
class Result:
    """The end of a task, kept for a while for its producer."""

    task_id: str
    status: Literal["completed", "dead", "cancelled"]
    output: str = ""
    error: str = ""
    attempts: int = FIRST_ATTEMPT
    input_tokens: int = 0
    output_tokens: int = 0
    waited_ms: int = 0
    """From submission to the claim that completed it, milliseconds."""
    service_ms: int = 0
    """From that claim to completion, as the worker measured it, milliseconds."""
    stop: str = ""
    """Why the LLM stopped; see `Outcome`."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A task that failed for good."""

    id: str
    """Id in the stream of dead letters; its milliseconds are when the task died."""
    task_id: str
    error: str
    attempts: int
    fields: Mapping[str, str] = field(default_factory=dict)
    """The entry as it was submitted."""


def milliseconds_of(task_id: str) -> int:
    """Return the time in the id of a task or of a stream's entry, milliseconds since 1970."""
    return int(entry_of(task_id).partition("-")[0])


def id_order(entry_id: str) -> tuple[int, int]:
    """Return what stream entries' ids are ordered by: milliseconds and sequence, as numbers."""
    milliseconds, _, sequence = entry_id.partition("-")
    return int(milliseconds), int(sequence or 0)


def text(value: bytes | str) -> str:
    """Decode what Redis answered; bytes that are no UTF-8 survive the way there and back."""
    return value if isinstance(value, str) else value.decode("utf-8", "surrogateescape")


def raw(value: str) -> bytes:
    """Encode what `text` decoded; what no UTF-8 can say is written out, so that no answer of a handler is refused."""
    try:
        return value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return value.encode("utf-8", "backslashreplace")


def fields_from(flat: Sequence[bytes]) -> dict[str, str]:
    """Decode ``[name, value, name, value ...]``."""
    return {text(flat[i]): text(flat[i + 1]) for i in range(0, len(flat), 2)}


def decoded(fields: Mapping[bytes, bytes]) -> dict[str, str]:
    """Decode the fields of an entry or a hash."""
    return {text(name): text(value) for name, value in fields.items()}


def outcome_fields(task: Task, outcome: Outcome, service_ms: int) -> list[str | bytes | int]:
    """Return the fields of a completed task's result as `Result` is stored."""
    return [
        "status",
        "completed",
        "output",
        raw(outcome.output),
        "attempts",
        task.attempt,
        "input_tokens",
        outcome.input_tokens,
        "output_tokens",
        outcome.output_tokens,
        "waited_ms",
        task.waited_ms,
        "service_ms",
        service_ms,
        "stop",
        raw(outcome.stop),
    ]


def result_from(task_id: str, stored: Mapping[str, str]) -> Result:
    """Decode a stored result."""

    def number(name: str) -> int:
        return int(stored.get(name) or 0)

    known: dict[str, Literal["completed", "cancelled"]] = {"completed": "completed", "cancelled": "cancelled"}
    return Result(
        task_id=task_id,
        status=known.get(stored["status"], "dead"),
        output=stored.get("output", ""),
        error=stored.get("error", ""),
        attempts=number("attempts"),
        input_tokens=number("input_tokens"),
        output_tokens=number("output_tokens"),
        waited_ms=number("waited_ms"),
        service_ms=number("service_ms"),
        stop=stored.get("stop", ""),
    )


def dead_letter_from(entry_id: bytes, entry: Mapping[bytes, bytes]) -> DeadLetter:
    """Decode an entry of the stream of dead letters; what this project added to the task begins with ``ark.``."""
    fields = decoded(entry)
    attempts = fields.get("ark.attempts", "")
    return DeadLetter(
        id=text(entry_id),
        task_id=fields.get("ark.task", ""),
        error=fields.get("ark.error", ""),
        attempts=int(attempts)
        if attempts.isascii() and attempts.isdecimal() and len(attempts) <= _ATTEMPT_DIGITS
        else 0,
        fields={name: value for name, value in fields.items() if not name.startswith("ark.")},
    )
