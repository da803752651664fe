"""The code blocks of the README and of the pages under ``docs/``, so that tests can run every one of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_DOCS = ROOT / "docs"
PAGES = {
    "README": ROOT / "README.md",
    "CONTRIBUTING": ROOT / "CONTRIBUTING.md",
    "charts/ark/README": ROOT / "charts" / "ark" / "README.md",
    **{str(page.relative_to(_DOCS).with_suffix("")): page for page in sorted(_DOCS.rglob("*.md"))},
}
"""By their paths below ``docs/``, without the suffix."""
_FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_PROGRAM = re.compile(r"(?:[A-Z_]+=\S+ )*(\S+)")
"""The first word of a command that is no variable."""

ON_A_CLUSTER = ("kubectl", "helm", "ark-operator")
"""Commands that ``tests/cluster/test_documentation.py`` runs."""
ANYWHERE = ("make", "pip", "docker", "ark-scaler", "ark-agent")
"""Commands that ``tests/test_documentation.py`` runs."""


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block."""

    page: str
    kind: str
    """What is written behind the fence: console, yaml, python, or nothing for drawings."""
    text: str

    @property
    def commands(self) -> list[str]:
        """The commands of a console block, without comments, a continued one as one line."""
        joined = self.text.replace("\\\n", " ")
        lines = (re.sub(r"\s+# .*", "", line).strip() for line in joined.splitlines())
        return [re.sub(r"\s{2,}", " ", line) for line in lines if line]


def blocks(kind: str, *pages: str) -> Iterator[Block]:
    """Yield the blocks of one kind in the order of the pages; of all pages where none is named."""
    for page in pages or PAGES:
        for found, text in _FENCED.findall(PAGES[page].read_text()):
            if found == kind:
                yield Block(page, kind, text)


def commands(*pages: str) -> list[tuple[str, str]]:
    """Return page and command of every console block."""
    return [(block.page, command) for block in blocks("console", *pages) for command in block.commands]


def program(command: str) -> str:
    """Return the program that a command calls."""
    match = _PROGRAM.match(command)
    assert match is not None, command
    return match[1]
