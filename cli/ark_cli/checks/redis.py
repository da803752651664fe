"""Whether the Redis of each agent answers, can do what is asked of it, and will not throw tasks away."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

from ark_cli.agents import Agent, read_agents
from ark_cli.checks.finding import Finding, fault, ok, unknown, warning
from ark_cli.checks.installation import Installation
from ark_cli.errors import CliError
from ark_cli.kubectl import Kubectl
from ark_cli.redis_access import RedisAccess
from ark_taskqueue import RedisRefused, RedisUnavailable, ServerFacts, read_server

_OLDEST, _LAGLESS = (6, 2), (7, 0)


async def redis(kubectl: Kubectl, access: RedisAccess, _: Installation) -> AsyncIterator[Finding]:
    """Ask each Redis that an agent uses."""
    seen: set[int] = set()
    agents = await _agents(kubectl)
    if not agents:
        yield unknown("no agent yet that would say where Redis is")
    failed: set[tuple[str, str]] = set()
    for agent in agents:
        if (agent.namespace, agent.redis) in failed:
            continue
        try:
            client = await access.client(agent)
        except CliError as error:
            failed.add((agent.namespace, agent.redis))
            yield unknown(str(error))
            continue
        if id(client) in seen:
            continue
        seen.add(id(client))
        whose = f"Redis {agent.redis} of {agent.namespace}/{agent.name}"
        try:
            facts = await read_server(client)
        except RedisUnavailable as error:
            yield fault(f"{whose}: {error}", "start it, or see to the way there; nothing is lost while it is away")
        except RedisRefused as error:
            yield fault(f"{whose}: {error}", "see to its users and rights (ACL)")
        else:
            for finding in judged(whose, facts):
                yield finding


def judged(whose: str, facts: ServerFacts) -> list[Finding]:
    """Judge a server."""
    version = ".".join(map(str, facts.version))
    found = []
    if facts.version[:2] < _OLDEST:
        found.append(fault(f"{whose} is version {version}", "7.0 or later is needed, 6.2 works with less"))
    elif facts.version[:2] < _LAGLESS:
        found.append(
            warning(f"{whose} is version {version}, which counts long queues slowly", "upgrade to 7.0 or later")
        )
    if facts.eviction not in ("noeviction", "") and not facts.eviction.startswith("volatile-"):
        found.append(
            fault(
                f"{whose} evicts keys when its memory is full (maxmemory-policy {facts.eviction}): tasks would be lost",
                "CONFIG SET maxmemory-policy noeviction",
            )
        )
    elif facts.eviction.startswith("volatile-"):
        found.append(
            warning(
                f"{whose} evicts results when its memory is full (maxmemory-policy {facts.eviction})",
                "CONFIG SET maxmemory-policy noeviction",
            )
        )
    if not facts.keeps:
        found.append(
            warning(
                f"{whose} keeps nothing on disk: a restart loses tasks and budgets' past",
                "CONFIG SET appendonly yes, but for a trial",
            )
        )
    return found or [ok(f"{whose}: version {version}, {facts.milliseconds:.1f} ms away")]


async def _agents(kubectl: Kubectl) -> list[Agent]:
    """Answer the agents of all namespaces, or, where the caller may not see them, of the one."""
    everywhere = Kubectl(replace(kubectl.where, everywhere=True))
    try:
        return await read_agents(everywhere)
    except CliError:
        return await read_agents(kubectl)
