"""``kubectl ark status``: what agents do, and why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import click
from rich.text import Text

from ark_api.moment import moment, written
from ark_api.status import Mode
from ark_cli import output
from ark_cli.agents import Agent, Why, read_agent, read_agents, span
from ark_cli.errors import CliError
from ark_cli.kubectl import Kubectl, Object
from ark_cli.live import Live, Reading, read_live
from ark_cli.options import complete_agents, connected, everywhere_option, output_option, redis_option, where_options
from ark_cli.redis_access import RedisAccess

_EVENTS = 5
_STYLES: dict[str, str] = {Mode.AUTO: "green", Mode.PINNED: "cyan", Mode.STATIC: "", Mode.BUDGET: "red"}


@click.command()
@click.argument("agent", required=False, shell_complete=complete_agents)
@where_options
@everywhere_option
@redis_option
@click.option(
    "--no-redis", is_flag=True, help="Only what Kubernetes knows: no ages, no dead letters, nothing reserved."
)
@output_option
@click.pass_context
def status(context: click.Context, agent: str | None, redis_url: str | None, no_redis: bool, kind: str) -> None:
    """Show what AGENT, or every agent, does and why.

    Waiting and in flight are Redis' own numbers of this moment; where Redis is not reached, the operator's last ones.
    """

    async def work(kubectl: Kubectl, access: RedisAccess) -> int:
        agents = [await read_agent(kubectl, agent)] if agent is not None else await read_agents(kubectl)
        live = Live() if no_redis else await read_live(access, agents)
        now = datetime.now(UTC)
        live.tell()
        if kind != "table":
            found = [as_data(one, live.of(one), now) for one in agents]
            output.emit(found[0] if agent is not None else {"agents": found}, kind)
        elif agent is not None:
            _show_one(agents[0], live.of(agents[0]), await _events(kubectl, agents[0]), now)
        elif agents:
            _show_all(agents, live, now, everywhere=kubectl.where.everywhere)
        else:
            output.say("No agents. In other namespaces: kubectl ark status -A")
        return 0

    connected(context, redis_url, work)


def as_data(agent: Agent, reading: Reading, now: datetime) -> Object:
    """Return an agent for programs; null for what is not known."""
    why, depth, budget = agent.why(now), reading.depth, agent.budget
    waiting, in_flight = queue_of(agent, reading)
    return {
        "namespace": agent.namespace,
        "name": agent.name,
        "mode": agent.mode or None,
        "replicas": {"wanted": agent.wanted, "ready": agent.ready},
        "queue": {
            "stream": agent.stream_key,
            "waiting": waiting,
            "inFlight": in_flight,
            "oldestWaitingSeconds": None if depth is None else depth.oldest_waiting_ms / 1000,
            "deadLetters": reading.dead,
        },
        "budget": None if budget.daily is None else budget_data(agent, reading),
        "why": {"reason": why.reason, "message": why.message, "isBad": why.is_bad},
    }


def budget_data(agent: Agent, reading: Reading) -> Object:
    """Return an agent's budget for programs; null for what is not known."""
    usage, told = reading.usage, agent.status.get("dailyTokenUsage") or {}
    used = told.get("totalTokens") if usage is None else usage.total
    limit = agent.budget.daily
    return {
        "limitTokens": limit,
        "perCallTokens": agent.budget.per_call,
        "usedTokens": used,
        "inputTokens": told.get("inputTokens") if usage is None else usage.input,
        "outputTokens": told.get("outputTokens") if usage is None else usage.output,
        "reservedTokens": None if usage is None else usage.reserved,
        "leftTokens": None
        if used is None or limit is None
        else max(0, limit - used - (usage.reserved if usage else 0)),
        "exceeded": agent.mode == Mode.BUDGET if usage is None else usage.exceeded,
        "restoredAt": None if usage is None or usage.restored_at is None else written(usage.restored_at),
    }


def queue_of(agent: Agent, reading: Reading) -> tuple[int | None, int | None]:
    """Return waiting tasks and those in flight: now, or as the operator saw them last."""
    if reading.depth is not None:
        return reading.depth.waiting, reading.depth.in_flight
    told = agent.status.get("queue") or {}
    return told.get("waiting"), told.get("inFlight")


def mode_text(agent: Agent) -> Text:
    """Return the mode, in its colour."""
    return Text(agent.mode or "?", style=_STYLES.get(agent.mode, ""))


def why_text(why: Why) -> Text:
    """Return why a pool is as it is, in its colour."""
    return Text(output.clean(f"{why.reason}: {why.message}"), "red") if why.is_bad else Text(output.clean(why.message))


def _show_all(agents: Sequence[Agent], live: Live, now: datetime, *, everywhere: bool) -> None:
    console = output.console()
    rows: list[list[str | Text]] = []
    for agent in agents:
        reading = live.of(agent)
        why = agent.why(now)
        waiting, in_flight = queue_of(agent, reading)
        rows.append(
            [
                *([agent.namespace] if everywhere else []),
                agent.name,
                mode_text(agent),
                f"{agent.ready}/{agent.wanted}",
                number(waiting),
                number(in_flight),
                oldest(reading),
                budget_bar(budget_data(agent, reading)),
                why_text(why),
            ]
        )
    heads = ["NAME", "MODE", "READY", "WAITING", "IN FLIGHT", "OLDEST", "BUDGET", "WHY"]
    if everywhere:
        heads.insert(0, "NAMESPACE")
    console.print(output.table(heads, rows, numbers=("READY", "WAITING", "IN FLIGHT", "OLDEST")))


def _show_one(agent: Agent, reading: Reading, events: Sequence[Object], now: datetime) -> None:
    console = output.console()
    why = agent.why(now)
    console.print(output.facts(dict(_facts(agent, reading, now))))
    console.print()
    console.print(Text.assemble(("Why  ", "bold"), why_text(why)))
    conditions = agent.status.get("conditions") or []
    if conditions:
        rows = [
            [one["type"], one["status"], span((now - moment(one["lastTransitionTime"])).total_seconds()), one["reason"]]
            for one in conditions
        ]
        console.print()
        console.print(output.table(["CONDITION", "STATUS", "SINCE", "REASON"], rows))
    if events:
        rows = [[_age(one, now), one["type"], one["reason"], one.get("message", "")] for one in events]
        console.print()
        console.print(output.table(["EVENT", "TYPE", "REASON", "MESSAGE"], rows))


def _facts(agent: Agent, reading: Reading, now: datetime) -> Iterator[tuple[str, str | Text]]:
    yield "Agent", f"{agent.namespace}/{agent.name}"
    yield "Model", str(agent.spec.get("model", ""))
    yield "Mode", mode_text(agent)
    scaling = agent.autoscaling
    limits = "" if scaling is None else f" (autoscaling {scaling.min_replicas} to {scaling.max_replicas})"
    yield "Agents", f"{agent.ready} ready of {agent.wanted} wanted{limits}"
    waiting, in_flight = queue_of(agent, reading)
    yield "Queue", f"{number(waiting)} waiting, {number(in_flight)} in flight, oldest {oldest(reading)}"
    yield "Stream", agent.stream_key
    depth = reading.depth
    if depth is not None and depth.mean_service_ms is not None:
        yield "Service time", f"{depth.mean_service_ms / 1000:.1f}s on average"
    if reading.counts is not None:
        counts = reading.counts
        yield "So far", f"{counts.completed:,} completed, {counts.retried:,} attempts retried, {counts.dead:,} failed"
    if reading.dead is not None:
        more = f": kubectl ark dead list {agent.name}" if reading.dead else ""
        yield "Dead letters", f"{reading.dead}{more}"
    if agent.budget.daily is not None:
        yield "Budget", _budget(agent, reading, now)


def _budget(agent: Agent, reading: Reading, now: datetime) -> Text:
    data = budget_data(agent, reading)
    text = budget_bar(data)
    used = "?" if data["usedTokens"] is None else f"{data['usedTokens']:,}"
    text.append(f"  {used} of {data['limitTokens']:,} tokens in 24 h")
    if data["reservedTokens"]:
        text.append(f", {data['reservedTokens']:,} reserved")
    if data["restoredAt"]:
        text.append(f", used up; back in {span((moment(data['restoredAt']) - now).total_seconds())}", style="red")
    return text


def budget_bar(data: Object) -> Text:
    """Return the bar of a budget; a dash where there is no limit, and a question mark where nobody knows."""
    if data["limitTokens"] is None:
        return Text("-")
    return Text("?") if data["usedTokens"] is None else output.bar(data["usedTokens"], data["limitTokens"])


def number(value: int | None) -> str:
    """Return a number, or a dash where it is not known."""
    return "-" if value is None else str(value)


def oldest(reading: Reading) -> str:
    """Return how long the oldest task waits; a dash where none does, or nobody knows."""
    if reading.depth is None or not reading.depth.waiting:
        return "-"
    return span(reading.depth.oldest_waiting_ms / 1000)


async def _events(kubectl: Kubectl, agent: Agent) -> list[Object]:
    """Return the last events about an agent, newest first."""
    uid = agent.object["metadata"]["uid"]
    path = f"/api/v1/namespaces/{agent.namespace}/events?fieldSelector=involvedObject.uid%3D{uid}"
    try:
        found: list[Object] = (await kubectl.get(path))["items"]
    except CliError as error:
        output.say(f"events are not known: {error}")
        return []
    return sorted(found, key=_time, reverse=True)[:_EVENTS]


def _time(event: Object) -> str:
    series: dict[str, Any] = event.get("series") or {}
    time = event.get("lastTimestamp") or series.get("lastObservedTime") or event.get("eventTime")
    return str(time or event["metadata"]["creationTimestamp"])


def _age(event: Object, now: datetime) -> str:
    return span((now - datetime.fromisoformat(_time(event))).total_seconds())
