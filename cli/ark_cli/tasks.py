"""``kubectl ark submit`` and ``kubectl ark result``."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import asdict
from typing import Any

import click

from ark_cli import output
from ark_cli.agents import Agent, read_agent
from ark_cli.errors import CliError, Exit
from ark_cli.kubectl import Kubectl
from ark_cli.options import Number, WholeNumber, agent_argument, connected, output_option, redis_option, where_options
from ark_cli.redis_access import RedisAccess
from ark_taskqueue import CLEAN_STOPS, PRIORITIES, Priority, Producer, Result, ResultGone, TaskState

_WAIT = click.option("--timeout", type=Number(min=0), default=300.0, show_default=True, help="Seconds to wait at most.")


@click.command()
@agent_argument
@click.argument("prompt", required=False)
@where_options
@redis_option
@click.option("--wait", is_flag=True, help="Wait for the result and print it.")
@_WAIT
@click.option("--meta", metavar="JSON", help="The task's field meta: any JSON.")
@click.option("--field", "fields", metavar="NAME=VALUE", multiple=True, help="A further field; may be repeated.")
@click.option("--key", metavar="KEY", help="Idempotency key: within a day the same key adds no second task.")
@click.option(
    "--priority",
    type=click.Choice(PRIORITIES),
    default="normal",
    show_default=True,
    help="Tasks of higher priority are taken first.",
)
@click.option(
    "--max-depth",
    type=WholeNumber(min=1),
    help="Refuse if this many tasks of this priority or higher ones wait or are in flight.",
)
@output_option
@click.pass_context
def submit(
    context: click.Context,
    agent: str,
    prompt: str | None,
    redis_url: str | None,
    wait: bool,
    timeout: float,
    meta: str | None,
    fields: tuple[str, ...],
    key: str | None,
    priority: Priority,
    max_depth: int | None,
    kind: str,
) -> None:
    """Submit a task to AGENT and print its id. PROMPT is read from standard input if it is - or omitted."""
    given, extra = _meta(meta), _fields(fields)
    text = _prompt(prompt, needed=not extra and given is None)

    async def work(kubectl: Kubectl, access: RedisAccess) -> int:
        target = await read_agent(kubectl, agent)
        client = await access.client(target)
        producer = Producer(client, target.queue) if max_depth is None else Producer(client, target.queue, max_depth)
        done = await producer.submit(text, fields=extra, meta=given, idempotency_key=key, priority=priority)
        if wait:
            if kind == "table":
                output.say(f"task {done.task_id} of {target.namespace}/{target.name}; waiting for its result")
            return await _wait(producer, done.task_id, timeout, kind)
        if kind == "table":
            output.show(done.task_id)
            if not done.is_new:
                output.say("key already used: this is the task submitted with it earlier")
        else:
            output.emit({"task": done.task_id, "isNew": done.is_new}, kind)
        return 0

    connected(context, redis_url, work)


@click.command()
@agent_argument
@click.argument("task")
@where_options
@redis_option
@click.option("--wait", is_flag=True, help="Wait until there is one.")
@_WAIT
@output_option
@click.pass_context
def result(
    context: click.Context, agent: str, task: str, redis_url: str | None, wait: bool, timeout: float, kind: str
) -> None:
    """Print the result of AGENT's TASK, as `submit` named it."""

    async def work(kubectl: Kubectl, access: RedisAccess) -> int:
        target = await read_agent(kubectl, agent)
        producer = Producer(await access.client(target), target.queue)
        found = await producer.result(task)
        if found is not None:
            return _print(found, kind)
        queued = await producer.is_queued(task)
        if not queued and await producer.result(task) is None:
            raise _no_task(target, task)
        if wait:
            return await _wait(producer, task, timeout, kind)
        raise CliError(f"task {task} waits or is in flight; --wait waits for it", Exit.NOT_YET)

    connected(context, redis_url, work)


@click.command()
@agent_argument
@click.argument("task")
@where_options
@redis_option
@output_option
@click.pass_context
def cancel(context: click.Context, agent: str, task: str, redis_url: str | None, kind: str) -> None:
    """Cancel AGENT's TASK, as `submit` named it: a waiting task is gone at once, a running one within a second."""

    async def work(kubectl: Kubectl, access: RedisAccess) -> int:
        target = await read_agent(kubectl, agent)
        producer = Producer(await access.client(target), target.queue)
        was = await producer.cancel(task)
        if was == "gone":
            raise _no_task(target, task)
        if kind != "table":
            output.emit({"task": task, "was": was}, kind)
        elif was == "finished":
            output.say(f"task {task} is finished, nothing to cancel; see: kubectl ark result {agent} {task}")
        elif was == "cancelled":
            output.say(f"task {task} was cancelled before")
        else:
            output.show(f"task {task} cancelled, it was {was}")
        return Exit.BAD if was == "finished" else 0

    connected(context, redis_url, work)


@click.command()
@agent_argument
@click.argument("task")
@where_options
@redis_option
@output_option
@click.pass_context
def task(context: click.Context, agent: str, task: str, redis_url: str | None, kind: str) -> None:
    """Say where AGENT's TASK is: waiting and behind how many, running and where, or finished."""

    async def work(kubectl: Kubectl, access: RedisAccess) -> int:
        target = await read_agent(kubectl, agent)
        producer = Producer(await access.client(target), target.queue)
        state = await producer.state(task)
        if state.status == "gone":
            raise _no_task(target, task)
        if kind == "table":
            output.show(_told(state))
        else:
            shown = asdict(state)
            del shown["result"]  # that is for `result` to show
            output.emit(shown, kind)
        return 0

    connected(context, redis_url, work)


def _no_task(target: Agent, task: str) -> CliError:
    return CliError(f"{target.namespace}/{target.name} has no task {task}: wrong id, or its result has expired")


def _told(state: TaskState) -> str:
    """Return where a task is, as a line for people."""
    failed = f", failed attempts: {state.deliveries}" if state.deliveries else ""
    if state.status == "waiting":
        return f"waiting, {'an unknown number' if state.ahead is None else f'{state.ahead:,}'} ahead of it{failed}"
    if state.status == "backoff":
        return f"waiting, tried again in {state.due_seconds:.0f}s{failed}"
    if state.status == "running":
        return f"running on {state.worker}, attempt {state.deliveries}, lease renewed {state.renewed_seconds:.0f}s ago"
    result = state.result
    return f"{state.status}, attempt {result.attempts}" if result and result.attempts else state.status


async def _wait(producer: Producer, task: str, seconds: float, kind: str) -> int:
    try:
        async with asyncio.timeout(seconds):
            found = await producer.wait_for_result(task)
    except TimeoutError:
        raise CliError(f"task {task} has no result after {seconds:g} s; it stays in the queue", Exit.NOT_YET) from None
    except ResultGone as error:
        raise CliError(f"{error}; if it failed for good, kubectl ark dead list has it") from None
    return _print(found, kind)


def _print(found: Result, kind: str) -> int:
    if kind != "table":
        output.emit(asdict(found), kind)
    elif found.status == "completed":
        output.show(found.output)
        if found.stop in ("max_tokens", "length"):
            output.say(f"the LLM's answer was cut off: {found.stop}")
        elif found.stop and found.stop not in CLEAN_STOPS:
            output.say(f"the LLM did not stop normally: {found.stop}")
    elif found.status == "cancelled":
        output.say("the task was cancelled")
    else:
        output.say(f"the task failed after {found.attempts} attempts: {found.error}")
    return 0 if found.status == "completed" else Exit.BAD


def _prompt(given: str | None, *, needed: bool) -> str:
    """Return the prompt: the one given, or what standard input has."""
    if given is None and sys.stdin.isatty():
        if needed:
            raise click.UsageError("which task? Give a PROMPT, or pipe one in")
        return ""
    if given not in (None, "-"):
        return str(given)
    try:
        return sys.stdin.buffer.read().decode()
    except UnicodeDecodeError as error:
        raise click.UsageError(f"standard input is no text in UTF-8: {error.reason} at byte {error.start}") from None


def _meta(text: str | None) -> Any:
    if text is None:
        return None
    try:
        content = json.loads(text, parse_constant=_no_number)
        json.dumps(content, allow_nan=False)  # 1e999 is read as infinite
        return content
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is no JSON: {error}", param_hint="--meta") from None


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def _fields(items: tuple[str, ...]) -> dict[str, str]:
    fields = {}
    for item in items:
        name, equals, value = item.partition("=")
        if not equals or not name:
            raise click.BadParameter(f"{item!r} is not NAME=VALUE", param_hint="--field")
        fields[name] = value
    return fields
