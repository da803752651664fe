"""The chart's values, from the comments of values.yaml."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from hack.reference.markdown import code, page, prose, table

SOURCE = "charts/ark/values.yaml"

_SECTION = re.compile(r"# -- (.+?) -+$")
_COMMENT = re.compile(r"\s*# ?(.*)$")
_KEY = re.compile(r"(?P<indent> *)(?P<key>\w+):(?: (?P<value>.*))?$")
_INTRODUCTION = """\
`values.yaml` has all of them with the same comments; any other is refused by name (`values.schema.json`)."""

_INSTALL = "helm install ark charts/ark -n ark-system --create-namespace --set redis.bundled.enabled=true --wait"


class UnknownLine(ValueError):
    """A line of values.yaml is neither a comment, a section nor a key; the message names it."""


@dataclass(slots=True)
class Section:
    """Values that belong together."""

    title: str
    values: list[tuple[str, str, str]] = field(default_factory=list)
    """Path, default and meaning; the default of one with further values below is empty."""


def sections(text: str) -> list[Section]:
    """Return the sections of values.yaml, in order.

    Raises:
        UnknownLine: there is a line that no rule of this file knows.
    """
    found: list[Section] = []
    path: list[str] = []
    comment: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        if begun := _SECTION.match(line):
            found.append(Section(begun[1]))
            comment = []
        elif not line.strip():
            comment = []
        elif said := _COMMENT.match(line):
            comment.append(said[1])
        elif key := _KEY.match(line):
            path = [*path[: len(key["indent"]) // 2], key["key"]]
            found[-1].values.append((".".join(path), key["value"] or "", " ".join(comment)))
            comment = []
        else:
            raise UnknownLine(f"{SOURCE}:{number}: {line}")
    return found


def values_page(text: str) -> str:
    """Return the page.

    Args:
        text: values.yaml.
    """
    return page("Chart values", SOURCE, _INTRODUCTION, *_tables(text))


def chart_readme(text: str, description: str) -> str:
    """Return the chart's README.

    Args:
        text: values.yaml.
        description: what the chart says of itself.
    """
    return page(
        "ark",
        SOURCE,
        f"{description}.",
        "KEDA must be installed. For a trial with a Redis that the chart brings along:",
        f"```console\n{_INSTALL}\n```",
        "A Redis of your own, upgrades and certificates are in the documentation, `docs/guides/install.md`.",
        *_tables(text),
    )


def _tables(text: str) -> Iterator[str]:
    for section in sections(text):
        yield f"## {section.title}"
        rows = [
            (code(path), code(default), prose(meaning))
            for path, default, meaning in section.values
            if _tells(default, meaning)
        ]
        yield table(("value", "default", "meaning"), rows)


def _tells(default: str, meaning: str) -> bool:
    """Return whether a line says more than that further values are below it."""
    return bool(default or meaning)
