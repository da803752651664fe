"""A prompt and a key that the end-to-end tests use everywhere, and that may turn up nowhere but where they belong.

Contract C9: nothing private leaves by the side. After a run its logs are searched, and the events and conditions of
each test's namespace when it ends.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

PROMPT = "planted-prompt-4f1c"
"""Each task's."""
KEY = "planted-key-9b07"
"""In each namespace's Secret for agents."""
_ALL = (PROMPT, KEY)


def in_text(text: str) -> list[str]:
    """Return the planted words that a text has."""
    return [word for word in _ALL if word in text]


def in_files(paths: Iterable[Path]) -> list[str]:
    """Return where planted words are, as ``file: line``."""
    return [
        f"{path.name}: {line[:300]}"
        for path in paths
        for line in path.read_text(errors="replace").splitlines()
        if in_text(line)
    ]
