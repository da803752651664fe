"""Every code block of the documentation that needs no cluster does what it says: real programs, a real Redis."""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest

from ark_taskqueue import Client, Producer, QueueKeys, Result
from hack.cluster.control_plane import answers
from hack.local.process import ChildProcess, free_port
from hack.local.redis_server import RedisServer
from tests.documentation import ANYWHERE, ON_A_CLUSTER, PAGES, ROOT, blocks, commands, program
from tests.eventually import eventually

QUEUE = QueueKeys.for_agent("default", "writer")


def test_every_command_in_the_documentation_is_one_that_a_test_runs() -> None:
    known = {*ON_A_CLUSTER, *ANYWHERE}
    assert {program(command) for _, command in commands()} <= known
    for page, path in PAGES.items():
        kinds = set(re.findall(r"^```(\w+)$", path.read_text(), re.MULTILINE))
        assert kinds <= {"console", "yaml", "python"}, f"{page} has a block that no test knows"


def named(*programs: str) -> list[str]:
    found = sorted({command for _, command in commands() if program(command) in programs})
    assert found
    return found


@pytest.mark.parametrize("command", named("make"))
def test_make_knows_the_documented_targets(command: str) -> None:
    """The targets themselves are what CI runs, or take minutes."""
    ended = subprocess.run(["make", "-n", *shlex.split(command)[1:]], cwd=ROOT, capture_output=True, check=False)
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("command", named("pip"))
def test_the_extras_that_are_installed_exist(command: str) -> None:
    """That the package installs with its extras, and starts, is what ``make package`` shows."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    [wanted] = re.findall(r"'\.\[([a-z,]+)\]'$", command)
    assert set(wanted.split(",")) <= set(extras)


@pytest.mark.parametrize("command", named("docker"))
def test_the_image_is_built_from_this_folder_and_pushed_by_the_name_it_got(command: str) -> None:
    """There is no container engine here; what is in the image is what ``make package`` installs."""
    build, push = (shlex.split(part) for part in command.split("&&"))
    assert build == ["docker", "build", "-t", push[-1], "."]
    assert push[:2] == ["docker", "push"]
    assert (ROOT / "Dockerfile").exists()


@pytest.mark.parametrize("command", named("ark-scaler", "ark-agent"))
async def test_a_program_that_is_started_as_documented_is_ready_and_ends_when_told(
    command: str, redis_server: RedisServer, tmp_path: Path
) -> None:
    port = free_port()
    words = shlex.split(re.sub(r"redis://[\w.]+:6379", f"redis://127.0.0.1:{redis_server.port}", command))
    variables = dict(word.split("=", 1) for word in words if re.match(r"[A-Z_]+=", word))
    name, *flags = words[len(variables) :]
    ports = [f"--http-port={port}", *(["--port=0"] if name == "ark-scaler" else [])]
    started = [str(Path(sys.executable).parent / name), *flags, "--host=127.0.0.1", *ports]
    environment = {"AGENT_REDIS": redis_server.url, **variables}
    with ChildProcess(started, tmp_path / "log", environment=environment) as process:

        async def ready() -> bool:
            assert process.exit_code is None, process.output()
            return await asyncio.to_thread(answers, f"http://127.0.0.1:{port}/readyz")

        await eventually(ready, f"{command} to be ready", 30, every=0.05)
        assert await asyncio.to_thread(process.stop) == 0


def python(containing: str) -> str:
    [text] = [block.text for block in blocks("python") if containing in block.text]
    return text


def worker(command: list[str], redis: RedisServer, folder: Path, **variables: str) -> ChildProcess:
    environment: Mapping[str, str] = {
        "AGENT_QUEUE": "default/writer",
        "AGENT_MODEL": "echo",
        "AGENT_REDIS": redis.url,
        "AGENT_HOST": "127.0.0.1",
        "AGENT_HTTP_PORT": str(free_port()),
        **variables,
    }
    return ChildProcess(command, folder / "worker.log", environment=environment)


async def test_the_handler_of_ones_own_works_on_tasks(
    redis_server: RedisServer, client: Client, tmp_path: Path
) -> None:
    script = tmp_path / "review.py"
    script.write_text(python("ark_agent.run(review)"))
    producer = Producer(client, QUEUE)
    with worker([sys.executable, str(script)], redis_server, tmp_path) as process:
        submission = await producer.submit("review", fields={"diff": "-a\n+b"})
        async with asyncio.timeout(30):
            result = await producer.wait_for_result(submission.task_id)
        assert result.output == "Review this change:\n-a\n+b", process.output()


@pytest.mark.parametrize("lines", ["await producer.submit", "with SyncProducer"])
async def test_the_producers_lines_submit_a_task_and_get_its_result(
    redis_server: RedisServer, tmp_path: Path, lines: str
) -> None:
    text = python(lines).replace("redis.ark:6379", f"127.0.0.1:{redis_server.port}")
    code = compile(text, "submit.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    names: dict[str, object] = {}
    with worker([str(Path(sys.executable).parent / "ark-agent")], redis_server, tmp_path):
        async with asyncio.timeout(30):
            running = eval(code, names)
            if inspect.isawaitable(running):
                await running
    result = names["result"]
    assert isinstance(result, Result)
    assert result.output == "Write a haiku about queues"
    if isinstance(names["producer"], Producer):
        await names["producer"]._client.aclose()


def test_no_command_needs_more_than_a_shell() -> None:
    """Quotes and continuations are closed: what a person pastes is run, and nothing waits for more."""
    for page, command in commands():
        ended = subprocess.run(["bash", "-n", "-c", command], capture_output=True, text=True, check=False)
        assert (ended.returncode, ended.stderr) == (0, ""), f"{page}: {command}"
