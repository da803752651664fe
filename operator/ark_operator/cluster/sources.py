"""What decisions rest on beside the caches of the cluster; the parts that watch it fill it in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from ark_kube.objects import Key
from ark_operator.decision.agent import Agent
from ark_operator.decision.observed import Keda
from ark_sizing.choice import Sizing
from ark_taskqueue import Depth, TokenUsage


def _unsized(_: Agent) -> Sizing | None:
    return None


class Depths(Protocol):
    """What is known of the queues."""

    def fresh(self, agent: Agent) -> Depth | None:
        """Return the depth of an agent's queue, where it is fresh enough for a burst."""

    def shown(self, key: Key) -> Depth | None:
        """Return a queue's depth as the status should show it."""

    def forget(self, key: Key) -> None:
        """Forget the depth that bursts go by: it has been acted on."""


@dataclass(slots=True)
class Sources:
    """The sources of one operator."""

    depths: Depths
    usage: Callable[[Key], TokenUsage | None]
    """Token usage by agent; None where it is unknown."""
    sizing: Callable[[Agent], Sizing | None] = _unsized
    """What an agent's record asks for; None where nobody knows."""
    keda: Keda = field(default_factory=Keda)
