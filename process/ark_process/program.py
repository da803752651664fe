"""What every long-running program does first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from ark_process import files, logs, settings

_S = TypeVar("_S", bound=settings.ProgramSettings)


def begin(declared: type[_S], arguments: Sequence[str] | None = None) -> _S:
    """Read the settings, set up the logs, which repeat no secret of them, and allow as many open files as there may be.

    Args:
        declared: the class that declares the program's settings.
        arguments: the command line without the program's name; the process's own where None.
    """
    config = settings.load(declared, arguments)
    logs.configure(config.log_level, config.log_format, config.scrubber)
    files.allow_as_many_as_possible()
    return config
