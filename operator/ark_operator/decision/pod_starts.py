"""How long a pool's Pods take to start: from the request for one more replica until one more is ready.

That includes the time for a new node and for pulling the image. It is kept in the agent's status, where the next leader
finds it; what was asked for before this process looked is not measured.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from ark_kube.objects import Key, Object
from ark_operator.decision.agent import Agent

_WEIGHT = 0.25
"""Of a new start in the mean: some eight starts after a change, the mean has gone nine tenths of the way."""
_MOST_CHANGE = 2.0
"""A start counts as at most so many times the mean, and as no less than the mean by it: one Pod that waited an hour for
a node says little of the next ones, and if they are all like that the mean gets there all the same."""


@dataclass(slots=True)
class _Starting:
    """The starts of one Deployment that are under way."""

    asked: list[datetime | None]
    """For each replica when it was asked for; None where one was ready for it since, or nobody knows."""

    def look(self, replicas: int, ready: int, now: datetime) -> list[float]:
        """Return how long the Pods took that have become ready since the last look, seconds."""
        del self.asked[replicas:]
        self.asked += [now] * (replicas - len(self.asked))
        took = [(now - asked).total_seconds() for asked in self.asked[:ready] if asked is not None]
        self.asked[:ready] = [None] * min(ready, len(self.asked))
        return [seconds for seconds in took if seconds > 0]


@dataclass(slots=True)
class PodStarts:
    """The starts of all pools, as this process has seen them."""

    _starting: dict[Key, _Starting] = field(default_factory=dict)
    _means: dict[Key, float] = field(default_factory=dict)

    def look(self, agent: Agent, deployment: Object | None, now: datetime) -> float | None:
        """Look at a pool, and return how long its Pods take to start, seconds; None until one was seen starting.

        Args:
            agent: with what its status says.
            deployment: of the agent's name, as it is now; None where there is none.
            now: UTC.
        """
        key, replicas, ready = agent.key, 0, 0
        if deployment is not None and agent.owns(deployment):
            replicas = int(deployment["spec"].get("replicas", 1))
            ready = int((deployment.get("status") or {}).get("readyReplicas") or 0)
        starting = self._starting.setdefault(key, _Starting([None] * replicas))
        for took in starting.look(replicas, ready, now):
            self._means[key] = _moved(self._means.get(key, agent.start_seconds), took)
        return self._means.get(key, agent.start_seconds)

    def forget(self, key: Key) -> None:
        """Forget an agent that is gone."""
        self._starting.pop(key, None)
        self._means.pop(key, None)


def _moved(mean: float | None, took: float) -> float:
    """Return the mean after another start, to the tenth of a second."""
    if mean is None:
        return max(0.1, round(took, 1))
    bounded = min(max(took, mean / _MOST_CHANGE), mean * _MOST_CHANGE)
    return max(0.1, round(mean + _WEIGHT * (bounded - mean), 1))
