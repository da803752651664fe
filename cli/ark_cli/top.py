"""``kubectl ark top``: the busiest agents, live."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime

import click
from rich.live import Live as Screen
from rich.table import Table
from rich.text import Text

from ark_cli import output
from ark_cli.agents import Agent, read_agents
from ark_cli.kubectl import Kubectl
from ark_cli.live import Live, read_live
from ark_cli.options import Number, WholeNumber, connected, everywhere_option, redis_option, where_options
from ark_cli.redis_access import RedisAccess
from ark_cli.status import mode_text
from ark_cli.views import BudgetView, QueueView, number

_HEADS = ("NAME", "MODE", "READY", "DEMAND", "SLOTS", "LOAD", "OLDEST", "PER MIN", "FAILED", "BUDGET")


@click.command()
@where_options
@everywhere_option
@redis_option
@click.option("--interval", type=Number(min=0.2), default=2.0, show_default=True, help="Seconds between looks.")
@click.option("--count", type=WholeNumber(min=1), help="Refreshes before exiting; 1 without a terminal.")
@click.option("--rows", type=WholeNumber(min=1), help="Maximum agents to show; on a terminal, what fits.")
@click.pass_context
def top(context: click.Context, redis_url: str | None, interval: float, count: int | None, rows: int | None) -> None:
    """Show the busiest agents, until Ctrl-C.

    DEMAND is waiting plus in-flight tasks, SLOTS how many tasks the ready agents can run at once, PER MIN and FAILED
    the tasks completed (per minute) and failed for good since the last refresh.
    """

    async def work(kubectl: Kubectl, access: RedisAccess) -> int:
        console = output.console()
        if not console.is_terminal:
            await _print(kubectl, access, interval, count or 1, rows)
            return 0
        before: _Sample | None = None
        with Screen(console=console, auto_refresh=False, transient=False) as screen:
            looks = 0
            while count is None or looks < count:
                sample = await _sample(kubectl, access)
                fitting = max(1, console.height - 3)
                everywhere = kubectl.where.everywhere
                screen.update(
                    _table(sample, before, min(rows or fitting, fitting), everywhere=everywhere), refresh=True
                )
                before = sample
                looks += 1
                if count is None or looks < count:
                    await asyncio.sleep(interval)
        return 0

    connected(context, redis_url, work)


class _Sample:
    """One look."""

    def __init__(self, agents: Sequence[Agent], live: Live) -> None:
        self.agents = agents
        self.live = live
        self.time = time.monotonic()
        self.at = datetime.now(UTC)


async def _sample(kubectl: Kubectl, access: RedisAccess) -> _Sample:
    agents = await read_agents(kubectl)
    return _Sample(agents, await read_live(access, agents))


async def _print(kubectl: Kubectl, access: RedisAccess, interval: float, count: int, rows: int | None) -> None:
    """Print one table after the other; two looks for the first, or it would have no rates."""
    before = await _sample(kubectl, access)
    before.live.tell()
    for _ in range(count):
        await asyncio.sleep(interval)
        sample = await _sample(kubectl, access)
        output.console().print(_table(sample, before, rows, everywhere=kubectl.where.everywhere))
        before = sample


def _table(sample: _Sample, before: _Sample | None, rows: int | None, *, everywhere: bool) -> Table:
    agents = sorted(sample.agents, key=lambda agent: (-_demand(agent, sample), agent.namespace, agent.name))
    cells = [
        [*([agent.namespace] if everywhere else []), *_cells(agent, sample, before)]
        for agent in agents[: rows or len(agents)]
    ]
    heads = [*(["NAMESPACE"] if everywhere else []), *_HEADS]
    made = output.table(heads, cells, numbers=_HEADS[2:-1])
    problem = next(iter(sample.live.problems), "")
    made.caption = f"{len(agents)} in all, at {sample.at:%H:%M:%S} UTC{'; ' + problem if problem else ''}"
    made.caption_justify = "left"
    return made


def _demand(agent: Agent, sample: _Sample) -> int:
    queue = QueueView.of(agent, sample.live.of(agent))
    return (queue.waiting or 0) + (queue.in_flight or 0)


def _cells(agent: Agent, sample: _Sample, before: _Sample | None) -> list[str | Text]:
    reading = sample.live.of(agent)
    slots, demand = agent.slots, _demand(agent, sample)
    queue = QueueView.of(agent, reading)
    known = queue.waiting is not None
    load = "-" if not known or not (slots or demand) else f"{100 * demand // slots}%" if slots else "∞"
    completed, failed = _rates(agent, sample, before)
    return [
        agent.name,
        mode_text(agent),
        f"{agent.ready}/{agent.wanted}",
        number(demand if known else None),
        str(slots),
        load,
        queue.oldest,
        completed,
        failed,
        BudgetView.of(agent, reading).bar,
    ]


def _rates(agent: Agent, sample: _Sample, before: _Sample | None) -> tuple[str, str]:
    """Return tasks completed a minute, and tasks that failed, since the look before."""
    now = sample.live.of(agent).counts
    then = before.live.of(agent).counts if before is not None else None
    if now is None or then is None or before is None:
        return "-", "-"
    minutes = (sample.time - before.time) / 60
    return f"{(now.completed - then.completed) / minutes:.0f}", str(now.dead - then.dead)
