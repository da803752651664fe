"""Completion of ``kubectl ark`` by kubectl's own, which calls ``kubectl_complete-ark`` with the words so far.

It expects one proposal a line, and a last line ``:<directive>``; 4 is "no files", cobra's
ShellCompDirectiveNoFileComp.
Source: Kubernetes' documentation, "Extend kubectl with plugins".
"""

from __future__ import annotations

import sys

from click.shell_completion import ShellComplete

from ark_cli.main import NAME, cli

_NO_FILES = ":4"


def main() -> None:
    """Print the proposals."""
    for line in proposals(sys.argv[1:]):
        print(line)


def proposals(words: list[str]) -> list[str]:
    """Return what kubectl is to be told.

    Args:
        words: those behind ``kubectl ark``; the last one is being written.
    """
    *before, incomplete = words or [""]
    completer = ShellComplete(cli, {}, NAME, "_ARK_COMPLETE")
    found = completer.get_completions(before, incomplete)
    return [*(f"{item.value}\t{item.help}" if item.help else item.value for item in found), _NO_FILES]
