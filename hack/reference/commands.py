"""``kubectl ark``, from the commands themselves."""

from __future__ import annotations

from collections.abc import Iterator

import click

from ark_cli.main import NAME, cli
from hack.reference.markdown import code, page, prose, table

SOURCE = "cli/ark_cli"


def commands_page() -> str:
    """Return the page."""
    parts = [prose(_text(cli.help)), *_options(cli), prose(_text(cli.epilog))]
    for path, command in _commands(cli, NAME):
        usage = " ".join([path, *command.collect_usage_pieces(click.Context(command))])
        parts += [f"## {path}", code(usage), prose(_text(command.help)), *_options(command)]
    return page("kubectl ark", SOURCE, *parts)


def _commands(group: click.Group, path: str) -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        yield f"{path} {name}", command
        if isinstance(command, click.Group):
            yield from _commands(command, f"{path} {name}")


def _options(command: click.Command) -> Iterator[str]:
    records = [
        parameter.get_help_record(click.Context(command))
        for parameter in command.params
        if isinstance(parameter, click.Option)
    ]
    rows = [(code(name), prose(meaning)) for name, meaning in filter(None, records)]
    if rows:
        yield table(("option", "meaning"), rows)


def _text(text: str | None) -> str:
    """Return a help text, each paragraph in one line."""
    paragraphs = (text or "").replace("\b\n", "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
