"""What Redis says of agents now: one pipeline for each question and connection, however many agents there are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from ark_cli import output
from ark_cli.agents import Agent
from ark_cli.errors import CliError, shown
from ark_cli.redis_access import RedisAccess
from ark_taskqueue import (
    Client,
    Counts,
    Depth,
    TaskQueueError,
    TokenUsage,
    count_dead_letters,
    read_counts,
    read_depths,
    read_usages,
)

_T = TypeVar("_T")
_MOST_TOLD = 3


@dataclass(frozen=True, slots=True)
class Reading:
    """Of one agent; None for what is not known."""

    depth: Depth | None = None
    usage: TokenUsage | None = None
    dead: int | None = None
    counts: Counts | None = None


UNKNOWN = Reading()


@dataclass(slots=True)
class Live:
    """Of many agents."""

    readings: dict[tuple[str, str], Reading] = field(default_factory=dict)
    """By namespace and name."""
    problems: list[str] = field(default_factory=list)
    """Why some are not known."""

    def of(self, agent: Agent) -> Reading:
        """Return an agent's reading."""
        return self.readings.get((agent.namespace, agent.name), UNKNOWN)

    def tell(self) -> None:
        """Say on standard error why some are not known; each reason once, and the first few of them."""
        reasons = list(dict.fromkeys(self.problems))
        for reason in reasons[:_MOST_TOLD]:
            output.say(f"some data is unavailable: {reason}")
        if len(reasons) > _MOST_TOLD:
            output.say(f"some data is unavailable: and {len(reasons) - _MOST_TOLD} more reasons")


async def read_live(access: RedisAccess, agents: Sequence[Agent]) -> Live:
    """Ask Redis about agents. What cannot be read is unknown, and said in the answer's problems."""
    live = Live()
    for client, theirs in await _by_client(access, agents, live):
        try:
            await _read(client, theirs, live)
        except TaskQueueError as error:
            live.problems.append(shown(error))
    return live


async def _by_client(access: RedisAccess, agents: Sequence[Agent], live: Live) -> list[tuple[Client, list[Agent]]]:
    groups: dict[int, tuple[Client, list[Agent]]] = {}
    try:
        await access.look_up(agents)
    except CliError as error:
        live.problems.append(str(error))
        return []
    for agent in agents:
        try:
            agent.check()
            client = await access.client(agent)
        except CliError as error:
            live.problems.append(str(error))
        else:
            groups.setdefault(id(client), (client, []))[1].append(agent)
    return list(groups.values())


async def _read(client: Client, agents: Sequence[Agent], live: Live) -> None:
    queues = [agent.queue for agent in agents]
    budgeted = [agent for agent in agents if agent.budget.daily is not None]
    depths = await read_depths(client, queues)
    dead = await count_dead_letters(client, queues)
    counts = await read_counts(client, queues)
    usages = await read_usages(client, [(agent.queue, agent.budget) for agent in budgeted]) if budgeted else []
    spent = {(agent.namespace, agent.name): usage for agent, usage in zip(budgeted, usages, strict=True)}
    for agent, depth, letters, counted in zip(agents, depths, dead, counts, strict=True):
        key = (agent.namespace, agent.name)
        live.readings[key] = Reading(
            depth=_known(depth, live),
            usage=_known(spent.get(key), live),
            dead=_known(letters, live),
            counts=_known(counted, live),
        )


def _known(value: _T | TaskQueueError, live: Live) -> _T | None:
    if not isinstance(value, TaskQueueError):
        return value
    live.problems.append(shown(value))
    return None
