"""``kubectl ark budget``: tokens spent and left, and another limit."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import click
from rich.text import Text

from ark_cli import output
from ark_cli.agents import Agent, read_agent, read_agents
from ark_cli.errors import CliError
from ark_cli.kubectl import Kubectl
from ark_cli.live import Live, read_live
from ark_cli.options import complete_agents, connected, everywhere_option, output_option, redis_option, where_options
from ark_cli.redis_access import RedisAccess
from ark_cli.views import BudgetView, number


class _Limit(click.ParamType[int]):
    """A number of tokens, or ``none``."""

    name = "tokens|none"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the tokens, 0 for none; see click's own."""
        if value == "none":
            return 0
        digits = str(value).replace("_", "").replace(",", "")
        if not digits.isascii() or not digits.isdecimal() or int(digits) < 1:
            self.fail(f"{value!r} is neither a number of tokens nor none", param, ctx)
        return int(digits)


@click.command()
@click.argument("agent", required=False, shell_complete=complete_agents)
@where_options
@everywhere_option
@redis_option
@click.option("--limit", type=_Limit(), help="Set AGENT's 24-hour token limit (limits.maxDailyTokens).")
@output_option
@click.pass_context
def budget(context: click.Context, agent: str | None, redis_url: str | None, limit: int | None, kind: str) -> None:
    """Show the tokens of the last 24 hours, of AGENT or of every agent with a limit, and when they are restored."""
    if limit is not None and agent is None:
        raise click.UsageError("--limit is for one AGENT")

    async def work(kubectl: Kubectl, access: RedisAccess) -> int:
        if agent is None:
            agents = [one for one in await read_agents(kubectl) if one.budget.daily is not None]
        else:
            agents = [await read_agent(kubectl, agent)]
        if limit is not None:
            agents = [await _limited(kubectl, agents[0], limit)]
        if agent is not None and agents[0].budget.daily is None:
            output.say(f"{agents[0].namespace}/{agents[0].name} has no limit; set one with --limit TOKENS")
            if kind != "table":
                output.emit(None, kind)
            return 0
        live = await read_live(access, agents)
        live.tell()
        _show(agents, live, kind, one=agent is not None, everywhere=kubectl.where.everywhere)
        return 0

    connected(context, redis_url, work)


async def _limited(kubectl: Kubectl, agent: Agent, limit: int) -> Agent:
    if limit and limit < agent.budget.per_call:
        raise CliError(
            f"{limit} is less than one call may cost ({agent.budget.per_call}, limits.maxTokensPerCall): "
            "none would ever fit"
        )
    patch = {"spec": {"limits": {"maxDailyTokens": limit or None}}}
    return Agent(await kubectl.patch_agent(agent.namespace, agent.name, patch))


def _show(agents: list[Agent], live: Live, kind: str, *, one: bool, everywhere: bool) -> None:
    now = datetime.now(UTC)
    found = [(agent, BudgetView.of(agent, live.of(agent))) for agent in agents]
    if kind != "table":
        listed = [{"namespace": agent.namespace, "name": agent.name, **budget.as_data()} for agent, budget in found]
        output.emit(listed[0] if one else {"budgets": listed}, kind)
        return
    if not found:
        output.say("No agent has a limit: kubectl ark budget AGENT --limit TOKENS")
        return
    rows: list[list[str | Text]] = [
        [
            *([agent.namespace] if everywhere else []),
            agent.name,
            budget.bar,
            number(budget.used),
            number(budget.reserved),
            number(budget.left),
            str(budget.limit),
            budget.restored_in(now),
        ]
        for agent, budget in found
    ]
    heads = ["NAME", "BUDGET", "USED", "RESERVED", "LEFT", "LIMIT", "RESTORED IN"]
    if everywhere:
        heads.insert(0, "NAMESPACE")
    output.console().print(output.table(heads, rows, numbers=heads[-5:-1]))
