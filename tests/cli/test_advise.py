"""`kubectl ark advise` for a trace; for an agent see tests/cluster/test_cli.py."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ark_cli.main import run


def trace(folder: Path, bursts: int = 20, tokens: int = 30) -> str:
    file = folder / "requests.csv"
    rows = [
        f"2023-11-16 18:{minute:02}:{second:02}.000,100,{tokens}" for minute in range(bursts) for second in range(30)
    ]
    file.write_text("\n".join(["TIMESTAMP,ContextTokens,GeneratedTokens", *rows]) + "\n")
    return str(file)


def test_it_shows_what_other_sizings_cost(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["advise", "--trace", trace(tmp_path), "--start", "5"]) == 0
    said = capsys.readouterr()
    rows = [line.split("  ")[0] for line in said.out.splitlines()]
    assert rows[:3] == ["SIZING", "now", "best"]
    assert {"p95 within 5 s", "p95 within 60 s", "redis-streams", "by hindsight"} <= set(rows)
    assert "replica-hours" in said.out
    assert "playing 600 tasks of requests.csv, Pods that start in 5 s" in said.err


def test_programs_get_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["advise", "--trace", trace(tmp_path), "--start", "5", "-o", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    sizings = {one["name"]: one["sizing"] for one in found["sizings"]}
    assert (found["tasks"], found["startSeconds"]) == (600, 5.0)
    assert sizings["now"]["tasksPerReplica"] == 3
    within = sizings["p95 within 15 s"]
    assert within["waitSeconds"]["p95"] <= 15
    assert within["replicaSeconds"] <= sizings["redis-streams"]["replicaSeconds"]
    assert found["hindsightReplicaSeconds"] <= sizings["now"]["replicaSeconds"]


def test_the_plot_can_be_a_picture(tmp_path: Path) -> None:
    assert run(["advise", "--trace", trace(tmp_path, 3), "--start", "5", "--png", str(tmp_path / "plot.png")]) == 0
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--trace", "/nowhere.csv", "--start", "2"], "trace /nowhere.csv cannot be read"),
        (["--start", "2", "--seconds-per-task", "0", "--seconds-per-token", "0"], "takes any time"),
        (["--start", "2", "--png", "/nowhere/plot.png"], "cannot be written to /nowhere/plot.png"),
    ],
)
def test_what_cannot_be_done_is_said(
    arguments: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = [] if "--trace" in arguments else ["--trace", trace(tmp_path, 2)]
    assert run(["advise", *file, *arguments]) == 3
    assert told in capsys.readouterr().err
