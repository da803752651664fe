"""Whether the agents, and KEDA's objects for them, are well."""

from __future__ import annotations

from collections.abc import AsyncIterator

from ark_cli.checks.finding import Finding, ok, unknown, warning
from ark_cli.checks.installation import Installation
from ark_cli.kubectl import Kubectl
from ark_cli.redis_access import RedisAccess

_MOST = 10


async def agents(_: Kubectl, __: RedisAccess, installation: Installation) -> AsyncIterator[Finding]:
    """Tell of each agent that somebody should look at."""
    if installation.agents_hidden:
        yield unknown(installation.agents_hidden)
        return
    reasons = [(agent, agent.why(installation.now)) for agent in installation.agents]
    bad = [(agent, why) for agent, why in reasons if why.is_bad]
    for agent, why in bad[:_MOST]:
        yield warning(f"{agent.namespace}/{agent.name}: {why.reason}: {why.message}")
    if len(bad) > _MOST:
        yield warning(f"and {len(bad) - _MOST} more", "kubectl ark status -A")
    if not bad:
        yield ok(f"{len(reasons)} in {installation.agents_of}, none needs attention")
