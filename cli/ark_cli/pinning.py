"""``kubectl ark pin`` and ``kubectl ark auto``: a person's number for a pool, and back to the queue's."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from ark_api.names import MIRROR, PIN_END
from ark_api.pin import PinEnd
from ark_api.status import Mode
from ark_cli.agents import read_agent, span
from ark_cli.errors import CliError
from ark_cli.kubectl import Kubectl
from ark_cli.options import WholeNumber, agent_argument, complete_agents, connected, where_options
from ark_cli.redis_access import RedisAccess

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_DURATION = re.compile(r"(?:[0-9]+[smhd])+")
_LONGEST_SECONDS = 366 * 86_400


class Duration(click.ParamType[int]):
    """A time as Kubernetes' tools have it, such as ``90s`` and ``1h30m``; in seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the seconds; see click's own."""
        if isinstance(value, int):
            return value
        if not _DURATION.fullmatch(value):
            self.fail(f"{value!r} is no time such as 30m, 2h or 1h30m", param, ctx)
        seconds = sum(int(part[:-1]) * _UNITS[part[-1]] for part in re.findall(r"\d+[smhd]", value))
        if not 0 < seconds <= _LONGEST_SECONDS:
            self.fail(f"{value!r} is not between 1s and 366d", param, ctx)
        return seconds


@click.command()
@agent_argument
@click.argument("replicas", type=WholeNumber(min=0))
@where_options
@click.option("--for", "seconds", type=Duration(), help="Unpin automatically after this time, such as 2h.")
@click.pass_context
def pin(context: click.Context, agent: str, replicas: int, seconds: int | None) -> None:
    """Keep AGENT at REPLICAS, whatever its queue asks for.

    `kubectl scale arkagent AGENT --replicas N` does the same, but cannot set a time limit.
    """

    async def work(kubectl: Kubectl, _: RedisAccess) -> int:
        target = await read_agent(kubectl, agent)
        name = f"{target.namespace}/{target.name}"
        if target.autoscaling is None and seconds is not None:
            raise CliError(f"{name} has no spec.autoscaling: its size is permanent; omit --for")
        until = None if seconds is None else datetime.now(UTC) + timedelta(seconds=seconds)
        end = None if until is None else str(PinEnd(replicas, until))
        # All in one patch: without the operator's annotation even the number that is there is a person's.
        patch = {"metadata": {"annotations": {MIRROR: None, PIN_END: end}}, "spec": {"replicas": replicas}}
        await kubectl.patch_agent(target.namespace, target.name, patch)
        pin_seconds = None if target.autoscaling is None else target.autoscaling.pin_seconds
        rest = pin_seconds if seconds is None else seconds
        how_long = f"for {span(rest)}" if rest else f"until you run: kubectl ark auto {agent}"
        if target.autoscaling is None:
            print(f"{name} has {replicas} replicas")
            return 0
        print(f"{name} pinned to {replicas} {how_long}")
        if target.mode == Mode.BUDGET and replicas:
            print("Its token budget is used up: it scales to that size when the budget is restored.")
        return 0

    connected(context, None, work)


@click.command()
@click.argument("agents", nargs=-1, required=True, metavar="AGENT...", shell_complete=complete_agents)
@where_options
@click.pass_context
def auto(context: click.Context, agents: tuple[str, ...]) -> None:
    """Unpin each AGENT, so that it follows its queue again."""

    async def work(kubectl: Kubectl, _: RedisAccess) -> int:
        for agent in agents:
            target = await read_agent(kubectl, agent)
            name = f"{target.namespace}/{target.name}"
            if target.autoscaling is None:
                raise CliError(f"{name} has nothing to follow: spec.autoscaling is not set; add `autoscaling: {{}}`")
            if target.persons_number is None:
                print(f"{name} follows its queue already")
                continue
            patch = {"metadata": {"annotations": {PIN_END: None}}, "spec": {"replicas": None}}
            await kubectl.patch_agent(target.namespace, target.name, patch)
            print(f"{name} follows its queue")
        return 0

    connected(context, None, work)
