"""Structured logs on standard error: JSON for machines, plain text for a person at a terminal."""

from __future__ import annotations

import importlib.util
import logging
import sys
import sysconfig
from functools import lru_cache
from typing import Any

import structlog

from ark_process.secrets import Scrubber

_LIBRARIES = tuple(sysconfig.get_path(name) for name in ("purelib", "platlib", "stdlib", "platstdlib"))
_OWN = "ark_"
_TALKATIVE = ("httpcore", "httpx")
"""HTTP libraries, also under the names that the SDKs bring them by: their info lines have URLs, queries included."""


def configure(level: str, style: str, scrub: Scrubber | None = None) -> None:
    """Send the program's logs, and those of its libraries, to standard error.

    Tracebacks show no variables, in neither style: a frame may hold a prompt, a key or a password.

    Args:
        level: ``debug``, ``info``, ``warning`` or ``error``.
        style: ``json`` (one object a line: time, level, event, fields) or ``text``.
        scrub: takes known secrets out of each line.
    """
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        structlog.processors.StackInfoRenderer(),
    ]
    renderer: structlog.typing.Processor
    if style == "json":
        transformer = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        shared.append(structlog.processors.ExceptionRenderer(transformer))
        renderer = structlog.processors.JSONRenderer()
    else:
        renderer = structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )

    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        _ScrubbedFormatter(
            scrub or Scrubber(),
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    handler.addFilter(lambda record: record.levelno >= _least(record.name))
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)


@lru_cache(1000)
def _least(logger: str) -> int:
    """Return the least level of a logger that is shown.

    Debug lines of libraries hold requests and answers, prompts and Secrets included. Which libraries do so changes with
    their versions; so it is none of them, but this project's packages, and what a user runs outside of a package.
    """
    package = logger.partition(".")[0]
    if package.startswith(_TALKATIVE):
        return logging.WARNING
    try:
        spec = importlib.util.find_spec(package) if package else None
    except ValueError:  # a script's own "__main__"
        spec = None
    installed = spec is not None and (spec.origin or "").startswith(_LIBRARIES)
    return logging.INFO if installed and not package.startswith(_OWN) else logging.NOTSET


class _ScrubbedFormatter(structlog.stdlib.ProcessorFormatter):
    """Formats a line, then takes secrets out of it: whatever brought them in, they are gone here."""

    def __init__(self, scrub: Scrubber, **options: Any) -> None:
        super().__init__(**options)
        self._scrub = scrub

    def format(self, record: logging.LogRecord) -> str:
        return self._scrub(super().format(record))


def get(component: str) -> structlog.stdlib.BoundLogger:
    """Return the logger of one component; its name is in every line."""
    logger: structlog.stdlib.BoundLogger = structlog.get_logger(component=component)
    return logger
