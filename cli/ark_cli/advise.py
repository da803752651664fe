"""``kubectl ark advise``: what a pool's last day would have cost, and waited, with another sizing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from ark_api.agent import default_tasks_per_replica
from ark_cli import output, plot, trace
from ark_cli.agents import read_agent, span
from ark_cli.errors import CliError, Exit
from ark_cli.kubectl import Kubectl
from ark_cli.options import Number, WholeNumber, complete_agents, connected, output_option, redis_option, where_options
from ark_cli.redis_access import RedisAccess
from ark_sizing.advice import MOST_TASKS, Advice, Point, advise
from ark_sizing.choice import LEAST_SECONDS, LEAST_TASKS
from ark_sizing.in_force import pool_of, setting_of
from ark_sizing.record import Span, tasks_of
from ark_sizing.setting import FIXED, Setting, described
from ark_sizing.simulation import Pool, Task
from ark_taskqueue import read_demand

_WAITS = (5.0, 15.0, 60.0)
"""What p95 is to be, seconds; of the pool's own wanted wait too, if it has one."""
_PERCENTILES = (95, 99)
_OF_TRACES = ("slots", "max_replicas", "seconds_per_task", "seconds_per_token")


@click.command("advise")
@click.argument("agent", required=False, shell_complete=complete_agents)
@where_options
@redis_option
@click.option(
    "--trace",
    "file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Instead of AGENT: a CSV file with TIMESTAMP, ContextTokens and GeneratedTokens of each request.",
)
@click.option(
    "--start",
    type=Number(0.1, 3600),
    help="Seconds from asking for a Pod until it takes tasks; default: as the operator has measured it for AGENT.",
)
@click.option("--slots", type=WholeNumber(1, 1000), default=5, show_default=True, help="With --trace: tasks of a Pod.")
@click.option(
    "--max-replicas", type=WholeNumber(1, 10_000), default=20, show_default=True, help="With --trace: Pods at most."
)
@click.option(
    "--seconds-per-task", type=Number(0, 3600), default=2.0, show_default=True, help="With --trace: of each request."
)
@click.option(
    "--seconds-per-token",
    type=Number(0, 60),
    default=0.1,
    show_default=True,
    help="With --trace: more for each generated token.",
)
@click.option("--png", type=click.Path(dir_okay=False, path_type=Path), help="Write the plot there; needs matplotlib.")
@output_option
@click.pass_context
def command(
    context: click.Context, /, agent: str | None, file: Path | None, redis_url: str | None, **given: Any
) -> None:
    """Show what AGENT's last day would have cost, and how long tasks would have waited, with other sizings.

    Replays at most the last 10,000 tasks of the queue's record. Changes nothing.
    """
    if (agent is None) == (file is None):
        raise click.UsageError("give either AGENT or --trace FILE")
    if file is not None:
        if given["start"] is None:
            raise click.UsageError("--trace needs --start SECONDS")
        _tell(_of_trace(file, given), given)
        return
    for name in _OF_TRACES:
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"--{name.replace('_', '-')} is for --trace: an AGENT says it itself")
    cases: list[_Case] = []

    async def work(kubectl: Kubectl, access: RedisAccess) -> int:
        assert agent is not None
        cases.append(await _of_agent(kubectl, access, agent, given["start"]))
        return 0

    connected(context, redis_url, work)
    _tell(cases[0], given)  # outside the event loop, where Ctrl-C ends it at once


@dataclass(frozen=True, slots=True)
class _Case:
    """A pool, and what it had to do."""

    name: str
    tasks: Sequence[Task]
    pool: Pool
    present: Setting
    waits: Sequence[float]


def _of_trace(file: Path, given: Mapping[str, Any]) -> _Case:
    try:
        arrivals = trace.read(file)
    except trace.BadTrace as error:
        raise CliError(str(error)) from error
    tasks = [
        Task(arrival.at, given["seconds_per_task"] + given["seconds_per_token"] * arrival.output_tokens)
        for arrival in arrivals
    ]
    if not any(task.seconds for task in tasks):
        raise CliError("no request of the trace takes any time: --seconds-per-task and --seconds-per-token")
    pool = Pool(given["slots"], given["start"], max_replicas=given["max_replicas"])
    present = replace(FIXED, tasks_per_replica=default_tasks_per_replica(given["slots"], None))
    return _Case(file.name, tasks, pool, present, _WAITS)


async def _of_agent(kubectl: Kubectl, access: RedisAccess, name: str, start: float | None) -> _Case:
    agent = await read_agent(kubectl, name)
    shown = f"{agent.namespace}/{agent.name}"
    autoscaling = agent.autoscaling
    if autoscaling is None:
        raise CliError(f"{shown} has a fixed size: it has no spec.autoscaling")
    record = await read_demand(await access.client(agent), agent.queue)
    spans = [Span(one.at, one.arrivals, one.busy_seconds) for one in record]
    tasks = tasks_of(spans)
    seen = spans[-1].at - spans[0].at if spans else 0.0
    if len(tasks) < LEAST_TASKS or seen < LEAST_SECONDS:
        raise CliError(
            f"the record of {shown} has {len(tasks)} tasks in {span(seen)}; "
            f"it takes {LEAST_TASKS} in {span(LEAST_SECONDS)} to go by",
            Exit.NOT_YET,
        )
    starts = start or agent.start_seconds
    if starts is None:
        raise CliError(f"the operator has not seen a Pod of {shown} start yet: say how long it takes with --start")
    wanted = [autoscaling.target_wait_seconds] if autoscaling.target_wait_seconds else []
    return _Case(shown, tasks, pool_of(agent, starts), setting_of(agent), sorted({*_WAITS, *wanted}))


def _tell(case: _Case, given: Mapping[str, Any]) -> None:
    if given["kind"] == "table":
        played = min(len(case.tasks), MOST_TASKS)
        output.say(f"playing {played:,} tasks of {case.name}, Pods that start in {case.pool.start_seconds:g} s ...")
    advice = advise(case.tasks, case.pool, case.present, case.waits)
    if given["png"] is not None:
        _draw(advice, given["png"])
    rows = list(_rows(advice))
    if given["kind"] != "table":
        output.emit(_data(case, advice, rows), given["kind"])
        return
    _show(advice, rows)


@dataclass(frozen=True, slots=True)
class _Row:
    name: str
    sign: str
    """In the plot."""
    point: Point | None
    """None where there is no such setting."""


def _rows(advice: Advice) -> Iterator[_Row]:
    yield _Row("now", "N", advice.present)
    yield _Row("best", "B", advice.best)
    for wait, point in advice.cheapest.items():
        yield _Row(f"p95 within {wait:g} s", "C", point)
    yield _Row("redis-streams", "K", advice.rival)


def _show(advice: Advice, rows: Sequence[_Row]) -> None:
    paid_now = advice.present.outcome.replica_seconds
    cells = []
    for row in rows:
        if row.point is None:
            cells.append([row.name, "", "", "", "", "none of those tried"])
            continue
        outcome = row.point.outcome
        waits = [_seconds(outcome.wait(share)) for share in _PERCENTILES]
        hours, cost = f"{outcome.replica_seconds / 3600:.2f}", f"{outcome.replica_seconds / paid_now:.0%}"
        cells.append([row.name, *waits, hours, cost, described(row.point.setting)])
    cells.append(["by hindsight", "0s", "0s", f"{advice.bound / 3600:.2f}", f"{advice.bound / paid_now:.0%}", ""])
    heads = ["SIZING", "P95", "P99", "HOURS", "COST", "HOW"]
    console = output.console()
    console.print(output.table(heads, cells, numbers=heads[1:-1]))
    named = [_mark(row.point, row.sign) for row in reversed(rows) if row.point is not None]
    most = max(mark.y for mark in named)
    others = [mark for mark in (_mark(point, plot.OTHERS) for point in advice.tried) if mark.y <= most]
    console.print()
    console.print(plot.scatter([*others, *named], "replica-hours", "wait of 95 %, seconds"))
    console.print("N now  B best  C cheapest for a p95  K redis-streams  · others")


def _mark(point: Point, sign: str) -> plot.Mark:
    return plot.Mark(point.outcome.replica_seconds / 3600, point.outcome.wait(95), sign)


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f}s" if seconds < 100 else span(seconds)


def _data(case: _Case, advice: Advice, rows: Sequence[_Row]) -> dict[str, Any]:
    def of(point: Point | None) -> dict[str, Any] | None:
        if point is None:
            return None
        setting, outcome = point.setting, point.outcome
        base = setting.base
        return {
            "reserve": setting.reserve,
            "patienceSeconds": setting.patience_seconds,
            "tasksPerReplica": setting.tasks_per_replica or case.pool.slots,
            "targetWaitSeconds": setting.target_wait_seconds,
            "base": None if base is None else {"quantile": base.quantile, "windowSeconds": base.window_seconds},
            "waitSeconds": {f"p{share}": round(outcome.wait(share), 3) for share in _PERCENTILES},
            "replicaSeconds": round(outcome.replica_seconds, 1),
            "podSeconds": round(outcome.pod_seconds, 1),
        }

    return {
        "of": case.name,
        "tasks": advice.tasks,
        "seconds": round(advice.seconds, 1),
        "startSeconds": case.pool.start_seconds,
        "sizings": [{"name": row.name, "sizing": of(row.point)} for row in rows],
        "hindsightReplicaSeconds": round(advice.bound, 1),
    }


def _draw(advice: Advice, file: Path) -> None:
    """Write the plot as a picture.

    Raises:
        CliError: matplotlib is not there, or the file cannot be written.
    """
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 - large, and for this alone
    except ImportError:
        raise CliError("--png needs matplotlib: pip install 'ark[plot]'") from None
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot(xlabel="replica-hours", ylabel="wait of 95 %, seconds")

    def dots(points: Sequence[Point], label: str, **style: Any) -> None:
        hours = [point.outcome.replica_seconds / 3600 for point in points]
        axes.scatter(hours, [point.outcome.wait(95) for point in points], label=label, **style)

    dots(advice.tried, "tried", color="#b0b0b0", s=18)
    dots([point for point in advice.cheapest.values() if point is not None], "cheapest for a wait", color="#0080a0")
    dots([advice.rival], "KEDA redis-streams", color="#c04040", marker="s")
    dots([advice.best], "best for its cost", color="#30a030", marker="D")
    dots([advice.present], "now", color="#000000", marker="x")
    axes.axvline(advice.bound / 3600, color="#b0b0b0", lw=1, ls=":", label="no wait, by hindsight")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.legend()
    try:
        figure.savefig(file, dpi=120)
    except (OSError, ValueError) as error:
        raise CliError(f"the plot cannot be written to {file}: {error}") from error
