"""How the command is used, and how it ends. No cluster."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from ark_cli.completion import proposals
from ark_cli.errors import CliError, Forbidden, NotThere
from ark_cli.kubectl import failure
from ark_cli.main import cli
from ark_cli.pinning import Duration

PROGRAM = Path(sys.executable).parent / "kubectl-ark"


def test_what_is_no_text_on_standard_input_is_wrong_use() -> None:
    ended = subprocess.run([str(PROGRAM), "submit", "writer"], input=b"\xff\xfe", capture_output=True, check=False)
    assert ended.returncode == 2
    assert b"standard input is no text" in ended.stderr


def run(*arguments: str, stdin: str | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(PROGRAM), *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"PATH": os.environ["PATH"], "HOME": "/nowhere", **environment},
    )


def commands(group: click.Group, *before: str) -> list[tuple[str, ...]]:
    found = []
    for name, command in group.commands.items():
        found.append((*before, name))
        if isinstance(command, click.Group):
            found += commands(command, *before, name)
    return found


@pytest.mark.parametrize("command", [(), *commands(cli)], ids=" ".join)
def test_each_command_explains_itself_in_80_columns(command: tuple[str, ...]) -> None:
    ended = run(*command, "--help", COLUMNS="80")
    assert ended.returncode == 0
    assert ended.stdout.startswith(f"Usage: {' '.join(['kubectl ark', *command])}")
    assert max(map(len, ended.stdout.splitlines())) <= 80


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("nonsense",), "No such command"),
        (("pin", "writer"), "REPLICAS"),
        (("pin", "writer", "3", "--for", "soon"), "such as 30m"),
        (("pin", "writer", "-1"), "-1"),
        (("submit", "writer", "x", "--meta", "{"), "is no JSON"),
        (("submit", "writer", "x", "--field", "x"), "NAME=VALUE"),
        (("dead", "requeue", "writer"), "--all"),
        (("dead", "drop", "writer", "1-0", "--all"), "--all"),
        (("budget", "--limit", "5"), "one AGENT"),
        (("budget", "writer", "--limit", "some"), "neither a number of tokens"),
        (("status", "-o", "xml"), "xml"),
        (("advise",), "either AGENT or --trace"),
        (("advise", "writer", "--trace", "x.csv", "--start", "2"), "either AGENT or --trace"),
        (("advise", "--trace", "x.csv"), "--trace needs --start"),
        (("advise", "writer", "--max-replicas", "3"), "--max-replicas is for --trace"),
        (("advise", "--trace", "x.csv", "--start", "0"), "--start"),
    ],
)
def test_wrong_use_ends_with_2_and_says_what(arguments: tuple[str, ...], told: str) -> None:
    ended = run(*arguments)
    assert ended.returncode == 2
    assert told in ended.stderr


def test_without_kubectl_it_says_what_is_missing() -> None:
    ended = run("status", PATH="/nowhere")
    assert (ended.returncode, ended.stdout) == (3, "")
    assert "kubectl is required, but not on the PATH" in ended.stderr


@pytest.mark.parametrize(
    ("said", "kind", "told"),
    [
        ("error: current-context must exist in order to minify", CliError, "which cluster"),
        ('error: context "nope" does not exist', CliError, "which cluster"),
        ("error: cannot locate context nope", CliError, "which cluster"),
        ('Error from server (NotFound): arkagents "x" not found', NotThere, "not found"),
        ('Error from server (Forbidden): pods is forbidden: User "u" cannot list', Forbidden, "cannot list"),
        ("Error from server: admission webhook: team x does not exist", CliError, "Error from server"),
        ("", CliError, "said nothing"),
    ],
)
def test_what_kubectl_says_is_passed_on(said: str, kind: type[CliError], told: str) -> None:
    error = failure(said)
    assert type(error) is kind
    assert told in str(error)
    assert error.code == 3


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("1h30m", 5400), ("2d", 172_800)])
def test_durations(text: str, seconds: int) -> None:
    assert Duration().convert(text, None, None) == seconds


@pytest.mark.parametrize("text", ["", "5", "0s", "h", "1h 30m", "400d", "-1h"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(click.BadParameter):
        Duration().convert(text, None, None)


def test_kubectls_completion_gets_proposals_and_a_directive() -> None:
    found = proposals(["dead", ""])
    assert [line.partition("\t")[0] for line in found] == ["drop", "list", "requeue", "show", ":4"]
    assert proposals(["pin", "--f"])[0].startswith("--for\t")
    assert proposals(["status", "-o", "j"]) == ["json", ":4"]
