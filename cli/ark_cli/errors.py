"""How a command ends.

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | done, and the answer is bad: the task failed, `doctor` found a fault |
| 2 | usage error |
| 3 | not done: not there, not allowed, refused, or out of reach |
| 4 | not yet: the time to wait is over, or a record is too short |
| 130 | Ctrl-C |
"""

from __future__ import annotations

from enum import IntEnum

from ark_taskqueue import TaskQueueError


class Exit(IntEnum):
    """Exit codes."""

    BAD = 1
    USAGE = 2
    NOT_DONE = 3
    NOT_YET = 4
    INTERRUPTED = 130


class CliError(Exception):
    """The command cannot go on; the message is for people, and says what to do where that is known."""

    def __init__(self, message: str, code: Exit = Exit.NOT_DONE) -> None:
        super().__init__(message)
        self.code = code


class NotThere(CliError):
    """An object is not there."""


class Forbidden(CliError):
    """The API server does not allow it."""


def shown(error: TaskQueueError) -> str:
    """Return an error of the task queue as a sentence."""
    text = str(error)
    return text[:1].upper() + text[1:]
