"""Keep the garbage collector's pauses short.

Ten thousand open streams are a million objects that live long. Python's full collections look at all of them, and
stop the process for it: 80 ms with 2,000 streams, half a second with 10,000 (measured), just when KEDA waits for an
answer. So what survived a full collection is taken out of the next ones (`gc.freeze`), and full collections come
more often, so that each has little to look at. What was taken out is still freed when nothing refers to it; only
cycles among it stay, and for these, everything is looked at once in a long while.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

_FULL_COLLECTION_SECONDS = 3600.0
_FULL_GENERATION = 2
_FULL_AFTER = 2
"""Collections of the second generation before a full one; Python's own choice is 10."""


def _freeze_survivors(phase: str, info: Mapping[str, Any]) -> None:
    if phase == "stop" and info["generation"] == _FULL_GENERATION:
        gc.freeze()


@contextmanager
def short_pauses() -> Iterator[None]:
    """Let full collections look at what is new only, while the context is open."""
    before = gc.get_threshold()
    gc.callbacks.append(_freeze_survivors)
    gc.set_threshold(*before[:2], _FULL_AFTER)
    gc.collect()
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.callbacks.remove(_freeze_survivors)
        gc.unfreeze()


async def collect_all_seldom() -> None:
    """Once an hour, collect among the old objects too: streams that ended leave some behind. Runs until cancelled."""
    while True:
        await asyncio.sleep(_FULL_COLLECTION_SECONDS)
        gc.unfreeze()
        gc.collect()
