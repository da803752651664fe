"""Whether the Redis of each agent answers, can do what is asked of it, and will not throw tasks away."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from ark_cli.checks.finding import Finding, fault, ok, unknown, warning
from ark_cli.checks.installation import Installation
from ark_cli.errors import CliError
from ark_cli.kubectl import Kubectl
from ark_cli.redis_access import RedisAccess
from ark_taskqueue import (
    Client,
    Depth,
    QueueKeys,
    RedisRefused,
    RedisUnavailable,
    ServerFacts,
    TaskQueueError,
    read_depths,
    read_server,
)

_MOST = 5
_OLDEST, _LAGLESS = (6, 2), (7, 0)


async def redis(_: Kubectl, access: RedisAccess, installation: Installation) -> AsyncIterator[Finding]:
    """Ask each Redis that an agent uses."""
    if not installation.agents:
        yield unknown(installation.agents_hidden or "there are no ArkAgents yet, so Redis cannot be found")
        return
    await access.look_up(installation.agents)
    seen: set[int] = set()
    queues: dict[int, tuple[Client, list[QueueKeys]]] = {}
    problems: set[str] = set()
    for agent in installation.agents:
        try:
            client = await access.client(agent)
        except CliError as error:
            problems.add(str(error))
            continue
        if id(client) not in seen:
            seen.add(id(client))
            for finding in await _asked(client, f"Redis {agent.redis} of {agent.namespace}/{agent.name}"):
                yield finding
        queues.setdefault(id(client), (client, []))[1].append(agent.queue)
    for client, of_client in queues.values():
        for finding in await _orphans(client, of_client):
            yield finding
    for problem in sorted(problems)[:_MOST]:
        yield unknown(problem)
    if len(problems) > _MOST:
        yield unknown(f"and {len(problems) - _MOST} more")


async def _asked(client: Client, whose: str) -> list[Finding]:
    try:
        return judged(whose, await read_server(client))
    except RedisUnavailable as error:
        return [fault(f"{whose}: {error}", "start it, or fix the route to it; nothing is lost while it is down")]
    except RedisRefused as error:
        # It answers; agents need not be allowed INFO.
        return [unknown(f"{whose}: {error}")]


async def _orphans(client: Client, queues: Sequence[QueueKeys]) -> list[Finding]:
    """Find queues with pending entries whose tasks are gone; one that cannot be read is told of elsewhere."""
    try:
        depths = await read_depths(client, queues)
    except TaskQueueError:
        return []
    return [
        warning(
            f"queue {queue.name} has {depth.orphaned} pending entries whose tasks were trimmed or deleted: they count "
            "as in flight, and keep its pool up, for ever",
            f"XPENDING STREAM {queue.group} - + 100, STREAM being each of {', '.join(queue.streams)}; then XACK those "
            "ids; see docs/operations/troubleshooting.md",
        )
        for queue, depth in zip(queues, depths, strict=True)
        if isinstance(depth, Depth) and depth.orphaned
    ][:_MOST]


def judged(whose: str, facts: ServerFacts) -> list[Finding]:
    """Judge a server."""
    version = ".".join(map(str, facts.version))
    found = []
    if facts.version[:2] < _OLDEST:
        found.append(fault(f"{whose} is version {version}", "upgrade to 7.0 or later; 6.2 is the oldest that works"))
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
                f"{whose} keeps nothing on disk: a restart loses tasks and recorded token usage",
                "CONFIG SET appendonly yes, but for a trial",
            )
        )
    return found or [ok(f"{whose}: version {version}, {facts.milliseconds:.1f} ms away")]
