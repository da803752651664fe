"""Draw the demo's samples into a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from hack.demo.measure import Sample


def save(samples: Sequence[Sample], path: Path, title: str) -> None:
    """Save the chart as a picture; the format is the path's ending, png or svg."""
    minutes = [sample.at / 60 for sample in samples]
    figure = Figure(figsize=(9, 5))
    queue, pool = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    queue.fill_between(minutes, [sample.waiting for sample in samples], step="post", color="#e0a000", label="waiting")
    queue.plot(minutes, [sample.in_flight for sample in samples], color="#0080a0", lw=1, label="in flight")
    queue.set_ylabel("tasks")
    queue.legend(loc="upper right")
    queue.set_title(title, fontsize=10)
    pool.fill_between(minutes, [sample.replicas for sample in samples], step="post", color="#50a050")
    pool.set_ylabel("replicas")
    pool.set_xlabel("minutes of the trace")
    for axes in (queue, pool):
        axes.set_ylim(bottom=0)
        axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)


def save_budget(samples: Sequence[Sample], cap: int, path: Path, title: str) -> None:
    """Save the chart of a token budget: what is spent in the window against the cap, and what the pool does."""
    seconds = [sample.at for sample in samples]
    figure = Figure(figsize=(9, 6))
    tokens, queue, pool = figure.subplots(3, 1, sharex=True, height_ratios=(3, 2, 2))
    tokens.fill_between(seconds, [sample.tokens for sample in samples], step="post", color="#c05050", label="spent")
    tokens.axhline(cap, color="black", lw=1, ls="--", label="cap")
    tokens.set_ylabel("tokens in 24 h")
    tokens.legend(loc="lower right")
    tokens.set_title(title, fontsize=10)
    queue.fill_between(seconds, [sample.waiting for sample in samples], step="post", color="#e0a000")
    queue.set_ylabel("tasks waiting")
    pool.fill_between(seconds, [sample.replicas for sample in samples], step="post", color="#50a050")
    pool.set_ylabel("replicas")
    pool.set_xlabel("seconds")
    for axes in (tokens, queue, pool):
        axes.set_ylim(bottom=0)
        axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)
