"""The kept cases, and how many new ones are tried."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hack.local.options import from_environment, whole

_FOLDER = Path(__file__).with_name("corpus")


def kept(name: str) -> list[Any]:
    """Return the cases of one kind."""
    cases: list[Any] = json.loads((_FOLDER / f"{name}.json").read_text())
    assert cases
    return cases


def examples(few: int) -> int:
    """Return how many new cases are tried: `few`, or what ``FUZZ_EXAMPLES`` says."""
    return from_environment("FUZZ_EXAMPLES", whole(1), few)
