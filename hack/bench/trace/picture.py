"""One picture of all contenders: arrivals, waiting, in flight and replicas over time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from ark_cli.trace import Arrival
from hack.bench.trace.result import Run

_BIN_SECONDS = 5


def save(runs: Sequence[tuple[str, Run]], arrivals: Sequence[Arrival], path: Path) -> None:
    """Draw them, one row each, all with the same axes.

    Args:
        runs: name and run of each contender.
        arrivals: what all of them got.
        path: the picture; its ending is the format.
    """
    figure = Figure(figsize=(11, 1.6 + 2.1 * len(runs)))
    heights = (1, *([2] * len(runs)))
    top, *rows = figure.subplots(len(runs) + 1, 1, sharex=True, height_ratios=heights)
    bins = Counter(int(arrival.at // _BIN_SECONDS) for arrival in arrivals)
    top.bar(
        [(number + 0.5) * _BIN_SECONDS / 60 for number in bins],
        [count / _BIN_SECONDS for count in bins.values()],
        width=_BIN_SECONDS / 60,
        color="#808080",
    )
    top.set_ylabel("arrivals/s")
    most = max((sample.waiting + 1 for _, run in runs for sample in run.samples), default=1)
    for axes, (name, run) in zip(rows, runs, strict=True):
        minutes = [sample.at / 60 for sample in run.samples]
        axes.fill_between(minutes, [s.waiting for s in run.samples], step="post", color="#e0a000", label="waiting")
        axes.plot(minutes, [s.in_flight for s in run.samples], color="#0080a0", lw=1, label="in flight")
        axes.set_ylim(0, most * 1.05)
        axes.set_ylabel("tasks")
        pool = axes.twinx()
        pool.step(minutes, [s.replicas for s in run.samples], where="post", color="#30a030", lw=1.2, label="replicas")
        pool.set_ylim(0, 24)
        pool.set_ylabel("replicas")
        axes.set_title(
            f"{name}: wait p50 {run.wait(50):.1f} s, p95 {run.wait(95):.1f} s, p99 {run.wait(99):.1f} s; "
            f"{run.replica_seconds:,.0f} replica-seconds",
            fontsize=9,
            loc="left",
        )
        handles = [*axes.get_legend_handles_labels()[0], *pool.get_legend_handles_labels()[0]]
        axes.legend(handles, ["waiting", "in flight", "replicas"], loc="upper right", fontsize=7)
    rows[-1].set_xlabel("minutes")
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)
