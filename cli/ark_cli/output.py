"""What commands print: tables for people, JSON and YAML for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ark_taskqueue.tasks.task import raw

FORMATS = ("table", "json", "yaml")
_BAR = 10
_WIDE = 10_000


def console() -> Console:
    """Return where to print; without a terminal nothing is cut off, and nothing coloured.

    What is printed may come from anybody who submits a task: brackets in it are no markup.
    """
    made = Console(highlight=False, soft_wrap=True, markup=False, emoji=False)
    if not made.is_terminal:
        made.width = _WIDE
    return made


def emit(content: Any, kind: str) -> None:
    """Print for programs."""
    if kind == "json":
        text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    else:
        text = yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True)
    # Both leave most of what moves a terminal as it is: U+009B begins an order like ESC [, U+202E turns a line round.
    sys.stdout.write("".join(one if one.isprintable() or one == "\n" else _escaped(one, kind) for one in text))


class _Dumper(yaml.SafeDumper):
    """Puts texts with anything that is not printable into double quotes, where it can be escaped."""


def _text_node(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = None if all(one.isprintable() or one == "\n" for one in text) else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", str(text), style=style)


_Dumper.add_representer(str, _text_node)
_Dumper.add_multi_representer(str, _text_node)  # modes and reasons are strings of a class of their own


def _escaped(one: str, kind: str) -> str:
    """Return a character as JSON and YAML can have it in double quotes."""
    if ord(one) <= 0xFFFF:
        return f"\\u{ord(one):04x}"
    if kind == "yaml":
        return f"\\U{ord(one):08x}"
    pair = one.encode("utf-16-be")
    return "".join(f"\\u{pair[at : at + 2].hex()}" for at in (0, 2))


def say(text: str) -> None:
    """Print a line for people that is no answer, to standard error; it may quote what anybody has sent."""
    print(clean(text), file=sys.stderr)


def show(text: str) -> None:
    """Print an answer: as it is for a program that reads it, harmless at a terminal."""
    if sys.stdout.isatty():
        print(clean(text))
    else:  # what is no UTF-8 is written as the bytes that it was read from
        sys.stdout.flush()
        sys.stdout.buffer.write(raw(text) + b"\n")


def clean(text: str) -> str:
    """Return a text without what a terminal would take for an order."""
    return "".join(one if one.isprintable() or one in "\n\t" else "\N{REPLACEMENT CHARACTER}" for one in text)


def table(columns: Sequence[str], rows: Sequence[Sequence[str | Text]], numbers: Sequence[str] = ()) -> Table:
    """Return a table as kubectl has them: the last column takes what room is left.

    Args:
        columns: heads.
        rows: cells.
        numbers: heads of columns that are aligned to the right.
    """
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold", collapse_padding=True)
    for name in columns:
        # Rich makes those narrower that may be wrapped, and else all alike; the cells keep the last one to a line.
        made.add_column(
            name, justify="right" if name in numbers else "left", no_wrap=name != columns[-1], overflow="ellipsis"
        )
    for row in rows:
        cells = [Text(clean(cell)) if isinstance(cell, str) else cell for cell in row]
        cells[-1].no_wrap, cells[-1].overflow = True, "ellipsis"
        made.add_row(*cells)
    return made


def facts(items: Mapping[str, str | Text]) -> Table:
    """Return names with values, one below the other."""
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    made.add_column(no_wrap=True, style="bold")
    made.add_column(overflow="fold")
    for name, value in items.items():
        made.add_row(clean(name), clean(value) if isinstance(value, str) else value)
    return made


def bar(used: int, limit: int) -> Text:
    """Return a bar with its percentage; rounded down, so that 100% is full."""
    share = used / limit if limit else 1.0
    filled = min(_BAR, int(share * _BAR))
    style = "red" if share >= 1 else "yellow" if share >= 0.8 else "green"
    return Text.assemble(("█" * filled, style), ("░" * (_BAR - filled), "dim"), f" {int(share * 100)}%")
