"""What commands print is harmless at a terminal, and can be read back by programs."""

from __future__ import annotations

import json
from io import StringIO
from typing import Any, cast

import pytest
import yaml
from rich.console import Console

from ark_cli import output

ORDERS = "\x1b]52;c;x\x07 \x9b31m \u202e \u2066 \u061c \u200b \ufeff \U000e0041"


@pytest.mark.parametrize("kind", ["json", "yaml"])
def test_nothing_for_programs_moves_a_terminal(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    content: dict[str, Any] = {"output": ORDERS, "plain": "wörld\nنص", "list": [ORDERS, 1]}
    output.emit(content, kind)
    said = capsys.readouterr().out
    assert all(one.isprintable() or one == "\n" for one in said)
    assert (json.loads(said) if kind == "json" else yaml.safe_load(said)) == content


@pytest.mark.parametrize("kind", ["json", "yaml"])
def test_what_is_no_text_is_printed_all_the_same(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    output.emit({"output": "caf\udcff"}, kind)
    assert "\\udcff" in capsys.readouterr().out.lower()


def test_a_program_gets_the_bytes_that_were_stored(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    output.show("caf\udcff")
    assert capfdbinary.readouterr().out == b"caf\xff\n"


def test_a_long_last_column_leaves_the_others_their_room() -> None:
    wide = Console(width=60, file=StringIO())
    wide.print(output.table(["NAME", "WAITING", "WHY"], [["writer", "12", "follows the queue " * 9]], ["WAITING"]))
    [head, row] = cast("StringIO", wide.file).getvalue().splitlines()
    assert head.split() == ["NAME", "WAITING", "WHY"]
    assert row.startswith("writer       12  follows the queue")
    assert row.rstrip().endswith("\u2026")
