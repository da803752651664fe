"""Errors of command lines name the option, the value, and what is allowed."""

from __future__ import annotations

import subprocess
import sys

import pytest

MODULES = {
    "demo": ("hack.demo", "make demo"),
    "cluster-demo": ("hack.cluster.demo", "make cluster-demo"),
    "submit": ("hack.cluster.submit", "python -m hack.cluster.submit"),
}


@pytest.mark.parametrize(
    ("command", "flags", "message"),
    [
        ("demo", ["--speed=abc"], "argument --speed: 'abc' is not a number above 0"),
        ("demo", ["--speed=0"], "argument --speed: '0' is not a number above 0"),
        ("demo", ["--speed=inf"], "argument --speed: 'inf' is not a number above 0"),
        ("demo", ["--speed=1_0"], "argument --speed: '1_0' is not a number above 0"),
        ("demo", ["--max-replicas=many"], "argument --max-replicas: 'many' is not a whole number from 1 to 100"),
        ("demo", ["--max-replicas=101"], "argument --max-replicas: '101' is not a whole number from 1 to 100"),
        ("demo", ["--picture=x.gif"], "argument --picture: 'x.gif' does not end in .png or .svg"),
        ("cluster-demo", ["--minutes=x"], "argument --minutes: 'x' is not a number above 0"),
        ("cluster-demo", ["--from-minute=-1"], "argument --from-minute: '-1' is not a number from 0"),
        ("cluster-demo", ["--max-replicas=0"], "argument --max-replicas: '0' is not a whole number from 1 to 100"),
        ("submit", ["r", "q", "--tasks=1.5"], "argument --tasks: '1.5' is not a whole number from 1"),
        ("submit", ["r", "q", "--seconds=nan"], "argument --seconds: 'nan' is not a number from 0"),
    ],
)
def test_a_bad_option_is_named_with_its_value_and_what_is_allowed(command: str, flags: list[str], message: str) -> None:
    module, program = MODULES[command]
    ended = subprocess.run(
        [sys.executable, "-m", module, *flags], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-1] == f"{program}: error: {message}"
