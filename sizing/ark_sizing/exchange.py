"""How another process is asked for a sizing: a choice takes a core for a second, which no event loop has."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ark_sizing.choice import Expected, Sizing, size
from ark_sizing.record import Span
from ark_sizing.setting import Base, Setting
from ark_sizing.simulation import Pool


@dataclass(frozen=True, slots=True)
class Question:
    """What `size` is asked."""

    record: Sequence[Span]
    pool: Pool
    safe: Setting
    target_wait_seconds: float | None
    present: Setting | None

    def encoded(self) -> bytes:
        """Return it as JSON."""
        spans = [[span.at, span.arrivals, span.busy_seconds] for span in self.record]
        content = {
            "record": spans,
            "pool": asdict(self.pool),
            "safe": asdict(self.safe),
            "target_wait_seconds": self.target_wait_seconds,
            "present": None if self.present is None else asdict(self.present),
        }
        return json.dumps(content).encode()


def answered(question: bytes) -> bytes:
    """Return the answer to an encoded question."""
    content = json.loads(question)
    present = content["present"]
    found = size(
        [Span(*span) for span in content["record"]],
        Pool(**content["pool"]),
        _setting(content["safe"]),
        content["target_wait_seconds"],
        None if present is None else _setting(present),
    )
    return json.dumps(asdict(found)).encode()


def decoded(answer: bytes) -> Sizing:
    """Return the sizing of an answer."""
    content = json.loads(answer)
    expected = content["expected"]
    return Sizing(_setting(content["setting"]), content["why"], None if expected is None else Expected(**expected))


def _setting(content: Mapping[str, Any]) -> Setting:
    base = content["base"]
    return Setting(**{**content, "base": None if base is None else Base(**base)})
