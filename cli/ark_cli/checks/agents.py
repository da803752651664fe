"""Whether the agents, and KEDA's objects for them, are well."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

from ark_cli.agents import Agent, read_agents
from ark_cli.checks.finding import Finding, ok, warning
from ark_cli.checks.installation import Installation
from ark_cli.errors import CliError
from ark_cli.kubectl import Kubectl
from ark_cli.redis_access import RedisAccess

_MOST = 10


async def agents(kubectl: Kubectl, _: RedisAccess, installation: Installation) -> AsyncIterator[Finding]:
    """Tell of each agent that somebody should look at."""
    try:
        found, where = await read_agents(Kubectl(replace(kubectl.where, everywhere=True))), "all namespaces"
    except CliError:
        found, where = await read_agents(kubectl), f"namespace {await kubectl.namespace()}"
    bad = list(_bad(found, installation))
    for finding in bad[:_MOST]:
        yield finding
    if len(bad) > _MOST:
        yield warning(f"and {len(bad) - _MOST} more", "kubectl ark status -A")
    if not bad:
        yield ok(f"{len(found)} in {where}, none that needs somebody")


def _bad(found: list[Agent], installation: Installation) -> Iterator[Finding]:
    for agent in found:
        why = agent.why(installation.now)
        if why.is_bad:
            yield warning(f"{agent.namespace}/{agent.name}: {why.reason}: {why.message}")
