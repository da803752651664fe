"""``kubectl ark dead``: tasks that failed for good."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Any

import click

from ark_cli import output
from ark_cli.agents import read_agent, span
from ark_cli.errors import CliError
from ark_cli.kubectl import Kubectl
from ark_cli.options import WholeNumber, Work, agent_argument, connected, output_option, redis_option, where_options
from ark_cli.redis_access import RedisAccess
from ark_taskqueue import DeadLetter, DeadLetters, RedisRefused


@click.group()
def dead() -> None:
    """See the tasks that failed for good; give them another try, or drop them.

    They are kept until requeued, dropped, or past the retention limits.
    """


@dead.command(name="list")
@agent_argument
@where_options
@redis_option
@click.option("--limit", type=WholeNumber(min=1), default=100, show_default=True, help="Maximum number to list.")
@click.option("--after", metavar="ID", help="Continue after this id.")
@output_option
@click.pass_context
def list_(context: click.Context, agent: str, redis_url: str | None, limit: int, after: str | None, kind: str) -> None:
    """List the dead letters of AGENT, oldest first."""

    async def work(kubectl: Kubectl, access: RedisAccess) -> int:
        letters = await _letters(kubectl, access, agent)
        found = await letters.list(limit, after)
        if kind != "table":
            output.emit({"deadLetters": [_data(letter) for letter in found]}, kind)
            return 0
        if not found:
            output.say("No dead letters.")
            return 0
        now = datetime.now(UTC)
        rows = [[one.id, _age(one, now), str(one.attempts), one.task_id, _line(one.error)] for one in found]
        output.console().print(output.table(["ID", "AGE", "ATTEMPTS", "TASK", "ERROR"], rows, numbers=("ATTEMPTS",)))
        total = await letters.count()
        if total > len(found):
            output.say(f"{total} in all; more: --after {found[-1].id}")
        return 0

    connected(context, redis_url, _named(work))


@dead.command()
@agent_argument
@click.argument("letter")
@where_options
@redis_option
@output_option
@click.pass_context
def show(context: click.Context, agent: str, letter: str, redis_url: str | None, kind: str) -> None:
    """Show one dead letter of AGENT: its error, and the task as it was submitted."""

    async def work(kubectl: Kubectl, access: RedisAccess) -> int:
        found = await (await _letters(kubectl, access, agent)).get(letter)
        if found is None:
            raise CliError(f"there is no dead letter {letter}: kubectl ark dead list {agent}")
        if kind != "table":
            output.emit(_data(found), kind)
            return 0
        shown = {
            "Dead letter": found.id,
            "Task": found.task_id,
            "Died": f"{_age(found, datetime.now(UTC))} ago, after {found.attempts} attempts",
            "Error": found.error,
            **{f"Field {name}": value for name, value in found.fields.items()},
        }
        output.console().print(output.facts(shown))
        return 0

    connected(context, redis_url, _named(work))


@dead.command()
@agent_argument
@click.argument("letters", nargs=-1, metavar="[LETTER]...")
@where_options
@redis_option
@click.option("--all", "every", is_flag=True, help="All that there are now.")
@click.pass_context
def requeue(context: click.Context, agent: str, letters: tuple[str, ...], redis_url: str | None, every: bool) -> None:
    """Put dead letters of AGENT back into the queue, as new tasks. Prints their ids."""
    _check(letters, every=every)

    async def work(kubectl: Kubectl, access: RedisAccess) -> int:
        of = await _letters(kubectl, access, agent)
        if every:
            print(f"{await of.requeue_all()} put back into the queue")
            return 0
        put_back = await of.requeue(letters)
        for letter, task in put_back.items():
            print(f"{letter} is task {task} now")
        return _all_there(letters, put_back)

    connected(context, redis_url, _named(work))


@dead.command()
@agent_argument
@click.argument("letters", nargs=-1, metavar="[LETTER]...")
@where_options
@redis_option
@click.option("--all", "every", is_flag=True, help="All that there are now.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.pass_context
def drop(
    context: click.Context, agent: str, letters: tuple[str, ...], redis_url: str | None, every: bool, yes: bool
) -> None:
    """Delete dead letters of AGENT for good."""
    _check(letters, every=every)

    async def work(kubectl: Kubectl, access: RedisAccess) -> int:
        of = await _letters(kubectl, access, agent)
        count = await of.count() if every else len(letters)
        if count and not yes:
            click.confirm(f"Delete {count} dead letters of {agent} for good?", abort=True, err=True)
        if every:
            print(f"{await of.delete_all()} deleted")
            return 0
        existing = [letter for letter in letters if await of.get(letter) is not None]
        print(f"{await of.delete(existing)} deleted")
        return _all_there(letters, existing)

    connected(context, redis_url, _named(work))


def _named(work: Work) -> Work:
    """Make a sentence of Redis' refusal of an id that is none."""

    async def named(kubectl: Kubectl, access: RedisAccess) -> int:
        try:
            return await work(kubectl, access)
        except RedisRefused as error:
            if "Invalid stream ID" not in str(error):
                raise
            raise click.UsageError(
                "a dead letter's id looks like 1764064800000-0; see: kubectl ark dead list"
            ) from None

    return named


def _check(letters: Sequence[str], *, every: bool) -> None:
    if bool(letters) == every:
        raise click.UsageError("which dead letters? Give their ids, or --all")


def _all_there(wanted: Sequence[str], existing: Collection[str]) -> int:
    missing = [letter for letter in wanted if letter not in existing]
    if missing:
        raise CliError(f"dead letters not found: {', '.join(missing)}")
    return 0


async def _letters(kubectl: Kubectl, access: RedisAccess, name: str) -> DeadLetters:
    target = await read_agent(kubectl, name)
    return DeadLetters(await access.client(target), target.queue)


def _data(letter: DeadLetter) -> dict[str, Any]:
    return {
        "id": letter.id,
        "task": letter.task_id,
        "error": letter.error,
        "attempts": letter.attempts,
        "fields": dict(letter.fields),
    }


def _age(letter: DeadLetter, now: datetime) -> str:
    return span(now.timestamp() - int(letter.id.partition("-")[0]) / 1000)


def _line(text: str) -> str:
    return " ".join(text.split())
