"""``kubectl ark status``: what agents do, and why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import click
from rich.text import Text

from ark_api.moment import moment
from ark_api.status import Mode
from ark_cli import output
from ark_cli.agents import Agent, Why, read_agent, read_agents, span
from ark_cli.errors import CliError
from ark_cli.kubectl import Kubectl, Object
from ark_cli.live import Live, Reading, read_live
from ark_cli.options import complete_agents, connected, everywhere_option, output_option, redis_option, where_options
from ark_cli.redis_access import RedisAccess
from ark_cli.views import BudgetView, QueueView, number
from ark_sizing.in_force import setting_of
from ark_sizing.setting import described

_EVENTS = 5
_STYLES: dict[str, str] = {Mode.AUTO: "green", Mode.PINNED: "cyan", Mode.STATIC: "", Mode.BUDGET: "red"}


@click.command()
@click.argument("agent", required=False, shell_complete=complete_agents)
@where_options
@everywhere_option
@redis_option
@click.option("--no-redis", is_flag=True, help="Do not query Redis: no ages, dead letters or reserved tokens.")
@output_option
@click.pass_context
def status(context: click.Context, agent: str | None, redis_url: str | None, no_redis: bool, kind: str) -> None:
    """Show what AGENT, or every agent, does and why.

    Waiting and in flight are read live from Redis; if it cannot be reached, the operator's last numbers are shown.
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
    why, budget = agent.why(now), BudgetView.of(agent, reading)
    return {
        "namespace": agent.namespace,
        "name": agent.name,
        "mode": agent.mode or None,
        "replicas": {"wanted": agent.wanted, "ready": agent.ready},
        "queue": QueueView.of(agent, reading).as_data(agent.stream_key),
        "budget": None if budget.limit is None else budget.as_data(),
        "sizing": agent.status.get("sizing"),
        "why": {"reason": why.reason, "message": why.message, "isBad": why.is_bad},
    }


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
        queue = QueueView.of(agent, reading)
        rows.append(
            [
                *([agent.namespace] if everywhere else []),
                agent.name,
                mode_text(agent),
                f"{agent.ready}/{agent.wanted}",
                number(queue.waiting),
                number(queue.in_flight),
                queue.oldest,
                BudgetView.of(agent, reading).bar,
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
    if scaling is not None:
        yield "Sizing", _sizing(agent, now)
    queue = QueueView.of(agent, reading)
    yield "Queue", f"{number(queue.waiting)} waiting, {number(queue.in_flight)} in flight, oldest {queue.oldest}"
    yield "Stream", agent.stream_key
    depth = reading.depth
    if depth is not None and depth.mean_service_ms is not None:
        yield "Service time", f"{depth.mean_service_ms / 1000:.1f}s on average"
    if reading.counts is not None:
        counts = reading.counts
        cancelled = f", {counts.cancelled:,} cancelled" if counts.cancelled else ""
        yield (
            "So far",
            f"{counts.completed:,} completed, {counts.retried:,} attempts retried, {counts.dead:,} failed{cancelled}",
        )
    if reading.dead is not None:
        more = f": kubectl ark dead list {agent.name}" if reading.dead else ""
        yield "Dead letters", f"{reading.dead}{more}"
    budget = BudgetView.of(agent, reading)
    if budget.limit is not None:
        yield "Budget", _budget(budget, now)


def _sizing(agent: Agent, now: datetime) -> str:
    known = agent.status.get("sizing") or {}
    text = described(setting_of(agent))
    with suppress(KeyError, ValueError):  # no time, or none that makes sense
        text += f" for {span((now - moment(known['since'])).total_seconds())}"
    expected = known.get("expectedWaitSeconds")
    return text if expected is None else f"{text}; p95 of the wait {expected:g}s by the record"


def _budget(budget: BudgetView, now: datetime) -> Text:
    text = budget.bar
    used = "?" if budget.used is None else f"{budget.used:,}"
    text.append(f"  {used} of {budget.limit:,} tokens in 24 h")
    if budget.reserved:
        text.append(f", {budget.reserved:,} reserved")
    if budget.restored_at is not None:
        text.append(f", used up; back in {budget.restored_in(now)}", style="red")
    return text


async def _events(kubectl: Kubectl, agent: Agent) -> list[Object]:
    """Return the last events about an agent, newest first."""
    uid = agent.object["metadata"]["uid"]
    path = f"/api/v1/namespaces/{agent.namespace}/events?fieldSelector=involvedObject.uid%3D{uid}"
    try:
        found: list[Object] = (await kubectl.get(path))["items"]
    except CliError as error:
        output.say(f"cannot read events: {error}")
        return []
    return sorted(found, key=_time, reverse=True)[:_EVENTS]


def _time(event: Object) -> str:
    series: dict[str, Any] = event.get("series") or {}
    time = event.get("lastTimestamp") or series.get("lastObservedTime") or event.get("eventTime")
    return str(time or event["metadata"]["creationTimestamp"])


def _age(event: Object, now: datetime) -> str:
    return span((now - datetime.fromisoformat(_time(event))).total_seconds())
