"""What a benchmark found: figures, the bars they are held against, and the machine they were found on."""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import psutil
from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Bar:
    """What a figure has to reach."""

    comparison: Literal["<=", ">="]
    limit: float

    def met_by(self, value: float) -> bool:
        """Return whether a figure reaches the bar."""
        return value <= self.limit if self.comparison == "<=" else value >= self.limit

    def __str__(self) -> str:
        return f"{self.comparison} {self.limit:g}"


@dataclass(slots=True)
class Report:
    """The figures of one benchmark."""

    name: str
    quick: bool
    software: dict[str, str] = field(default_factory=dict)
    """Versions of what was measured beside the project itself."""
    figures: list[dict[str, Any]] = field(default_factory=list)

    def add(self, name: str, value: float, unit: str, bar: Bar | None = None) -> None:
        """Take a figure; it is shown at once, so that a long run says how it goes."""
        met = None if bar is None else bar.met_by(value)
        figure = {"name": name, "value": round(value, 4), "unit": unit, "bar": str(bar) if bar else None, "met": met}
        self.figures.append(figure)
        print(f"  {name}: {value:,.3g} {unit}", file=sys.stderr, flush=True)

    @property
    def missed(self) -> list[str]:
        """Names of the figures that miss their bar."""
        return [figure["name"] for figure in self.figures if figure["met"] is False]

    def write(self, folder: Path) -> Path:
        """Write the JSON file and return its path."""
        folder.mkdir(exist_ok=True)
        path = folder / f"{self.name}.json"
        content = {
            "benchmark": self.name,
            "quick": self.quick,
            "when": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": machine_facts(),
            "software": self.software,
            "results": self.figures,
        }
        path.write_text(json.dumps(content, indent=2) + "\n")
        return path

    def show(self) -> None:
        """Print the table."""
        table = Table(title=f"Benchmark {self.name}{' (quick)' if self.quick else ''}")
        for column in ("what", "value", "unit", "bar", ""):
            table.add_column(column, justify="right" if column == "value" else "left")
        for figure in self.figures:
            verdict = {True: "met", False: "MISSED", None: ""}[figure["met"]]
            table.add_row(figure["name"], f"{figure['value']:,.4g}", figure["unit"], figure["bar"] or "", verdict)
        Console().print(table)


def machine_facts() -> dict[str, Any]:
    """Return what a reader needs to judge the figures; nothing that names the machine or its owner."""
    return {
        "system": f"{platform.system()} {platform.release()}",
        "architecture": platform.machine(),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "python": platform.python_version(),
    }


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Of a number of samples, in their unit."""

    p50: float
    p95: float
    p99: float

    @classmethod
    def of(cls, samples: Sequence[float]) -> Percentiles:
        """Return the percentiles of at least two samples."""
        cuts = statistics.quantiles(samples, n=100, method="inclusive")
        return cls(cuts[49], cuts[94], cuts[98])
