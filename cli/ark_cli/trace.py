"""Read a trace: which requests arrive when, and how long they are.

Two formats, told apart by their header: a trace of requests (``TIMESTAMP,ContextTokens,GeneratedTokens``) and a
summary by seconds (``second,requests,context_tokens,generated_tokens``). Lines that begin
with ``#`` are comments.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

REQUEST_COLUMNS = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
SUMMARY_COLUMNS = ("second", "requests", "context_tokens", "generated_tokens")
_MICROSECOND_DIGITS = 6


class BadTrace(Exception):
    """A trace cannot be used; the message names the file, the line, the value and what is allowed."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request."""

    at: float
    """Trace seconds since the first request."""
    input_tokens: int
    output_tokens: int


def read(path: Path) -> list[Arrival]:
    """Read a trace, in the order of arrival.

    Raises:
        BadTrace: the file cannot be read, has no rows, lacks a column, or has a bad row.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            arrivals = _parse(path.name, file)
    except OSError as error:
        raise BadTrace(f"trace {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadTrace(f"trace {path} is no UTF-8 text: {error.reason} at byte {error.start}") from error
    if not arrivals:
        raise BadTrace(f"trace {path} has no rows")
    arrivals.sort(key=lambda arrival: arrival.at)
    first = arrivals[0].at
    return [Arrival(arrival.at - first, arrival.input_tokens, arrival.output_tokens) for arrival in arrivals]


@dataclass(frozen=True, slots=True)
class _Row:
    """One row and where it stands, for errors."""

    file: str
    line: int
    values: dict[str, str | None]

    def number(self, column: str) -> int:
        value = (self.values[column] or "").strip()
        if not (value.isascii() and value.isdecimal()):
            raise self.error(column, "a whole number from 0")
        return int(value)

    def timestamp(self, column: str) -> float:
        value = (self.values[column] or "").strip()
        whole, dot, fraction = value.partition(".")
        try:
            # Seven digits in the Azure traces; Python takes six.
            moment = datetime.fromisoformat(whole + dot + fraction[:_MICROSECOND_DIGITS])
        except ValueError:
            raise self.error(column, "a UTC time like 2023-11-16 18:17:03.9799600") from None
        return (moment.replace(tzinfo=None) - datetime(1970, 1, 1)).total_seconds()

    def error(self, column: str, allowed: str) -> BadTrace:
        return BadTrace(f"trace {self.file}, line {self.line}: {column} is {self.values[column]!r}, not {allowed}")


def stretch(arrivals: Sequence[Arrival], first_minute: float, last_minute: float) -> list[Arrival]:
    """Return the arrivals from one minute to another, in seconds since the first of them.

    Raises:
        BadTrace: no request lies there.
    """
    begin, end = first_minute * 60, last_minute * 60
    found = [
        Arrival(arrival.at - begin, arrival.input_tokens, arrival.output_tokens)
        for arrival in arrivals
        if begin <= arrival.at < end
    ]
    if not found:
        raise BadTrace(
            f"the trace has no request from minute {first_minute:g} to {last_minute:g}; "
            f"it ends at minute {arrivals[-1].at / 60:.1f}"
        )
    return found


def _parse(name: str, lines: Iterator[str]) -> list[Arrival]:
    numbers: list[int] = []

    def uncommented() -> Iterator[str]:
        for number, line in enumerate(lines, start=1):
            if line.strip() and not line.startswith("#"):
                numbers.append(number)
                yield line

    reader = csv.DictReader(uncommented())
    header = reader.fieldnames or []
    summary = SUMMARY_COLUMNS[0] in header
    missing = [column for column in (SUMMARY_COLUMNS if summary else REQUEST_COLUMNS) if column not in header]
    if missing:
        raise BadTrace(
            f"trace {name} has the columns {', '.join(header) or 'none'} and lacks {', '.join(missing)}; "
            f"a trace has {', '.join(REQUEST_COLUMNS)}"
        )
    arrivals: list[Arrival] = []
    for values in reader:
        row = _Row(name, numbers[-1], values)
        arrivals += _seconds_requests(row) if summary else [_request(row)]
    return arrivals


def _request(row: _Row) -> Arrival:
    timestamp, context, generated = REQUEST_COLUMNS
    return Arrival(row.timestamp(timestamp), row.number(context), row.number(generated))


def _seconds_requests(row: _Row) -> list[Arrival]:
    """Spread a second's requests and tokens evenly; the sums stay what they are."""
    second, requests, context, generated = (row.number(column) for column in SUMMARY_COLUMNS)
    return [
        Arrival(second + i / requests, _share(context, requests, i), _share(generated, requests, i))
        for i in range(requests)
    ]


def _share(total: int, parts: int, index: int) -> int:
    """Return one of `parts` whole numbers that are as equal as can be and sum up to `total`."""
    return total * (index + 1) // parts - total * index // parts
