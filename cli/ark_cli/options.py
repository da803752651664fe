"""Options that commands have in common: before the command's name or behind it, as with kubectl itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any, TypeAlias, TypeVar

import click

from ark_cli import output
from ark_cli.agents import read_agents
from ark_cli.errors import CliError
from ark_cli.kubectl import Kubectl, Where
from ark_cli.redis_access import RedisAccess

Work: TypeAlias = Callable[[Kubectl, RedisAccess], Coroutine[Any, Any, int]]
"""What a command does; returns its exit code."""
_F = TypeVar("_F", bound=Callable[..., Any])
_META = "ark.where"


def where(context: click.Context) -> Where:
    """Return the cluster and namespace that the command line names."""
    found = context.meta.get(_META, Where())
    assert isinstance(found, Where)
    return found


def _noted(name: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    def note(context: click.Context, _: click.Parameter, value: Any) -> None:
        if value:
            context.meta[_META] = replace(where(context), **{name: value})

    return note


def where_options(function: _F) -> _F:
    """Give a command the options that name a cluster and a namespace."""
    for option in (
        click.option(
            "--kubeconfig", metavar="FILE", help="Kubeconfig file.", expose_value=False, callback=_noted("kubeconfig")
        ),
        click.option("--context", metavar="NAME", help="Context name.", expose_value=False, callback=_noted("context")),
        click.option(
            "-n", "--namespace", metavar="NAME", help="Namespace.", expose_value=False, callback=_noted("namespace")
        ),
    ):
        function = option(function)
    return function


everywhere_option = click.option(
    "-A",
    "--all-namespaces",
    is_flag=True,
    help="Agents of all namespaces.",
    expose_value=False,
    callback=_noted("everywhere"),
)
redis_option = click.option(
    "--redis-url",
    metavar="URL",
    envvar="ARK_REDIS_URL",
    help="Redis URL that works from this machine; default: the agents' own. [env: ARK_REDIS_URL]",
)
output_option = click.option(
    "-o",
    "--output",
    "kind",
    type=click.Choice(output.FORMATS),
    default="table",
    help="What to print.",
    show_default=True,
)


def complete_agents(context: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Return the names of agents that begin with what is written already."""
    try:
        found = asyncio.run(read_agents(Kubectl(where(context))))
    except CliError:
        return []  # whoever is typing learns why from the command
    return [agent.name for agent in found if agent.name.startswith(incomplete)]


agent_argument = click.argument("agent", shell_complete=complete_agents)


def connected(context: click.Context, redis_url: str | None, work: Work) -> None:
    """Do a command's work with the ways to Kubernetes and Redis, and end with its exit code."""

    async def whole() -> int:
        kubectl = Kubectl(where(context))
        async with RedisAccess(kubectl, redis_url) as access:
            return await work(kubectl, access)

    code = asyncio.run(whole())
    if code:
        context.exit(code)


class _Plain:
    """Plain digits: Python also takes those of other scripts, and underscores, which nobody means."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number; see click's own."""
        if isinstance(value, str) and not (value.isascii() and "_" not in value):
            self.fail(f"{value!r} is not written in plain digits", param, ctx)  # type: ignore[attr-defined]
        return super().convert(value, param, ctx)  # type: ignore[misc]


class WholeNumber(_Plain, click.IntRange):
    """A whole number within bounds."""


class Number(_Plain, click.FloatRange):
    """A number within bounds."""
