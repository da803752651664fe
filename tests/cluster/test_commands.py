"""``make cluster`` and ``make cluster-demo`` as a person uses them; each has a cluster of its own."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from pathlib import Path

import pytest

from hack.cluster.access import Access
from hack.local.process import heed_interrupts
from tests.eventually import eventually

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def only_there(access: Access) -> None:
    """The commands are for the process cluster."""
    if access.local is None:
        pytest.skip("a cluster of another kind is not ours to start")


async def start(module: str, *flags: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, *flags),
        cwd=ROOT,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "COLUMNS": "80"},
        start_new_session=True,
        preexec_fn=heed_interrupts,
    )


async def shell(command: str, kubeconfig: str) -> str:
    process = await asyncio.create_subprocess_shell(
        command, cwd=ROOT, stdout=asyncio.subprocess.PIPE, env={**os.environ, "KUBECONFIG": kubeconfig}
    )
    shown, _ = await process.communicate()
    assert process.returncode == 0, command
    return shown.decode()


async def test_a_person_gets_a_cluster_whose_printed_commands_work_and_ctrl_c_ends_it() -> None:
    process = await start("hack.cluster")
    try:
        assert process.stdout is not None
        async with asyncio.timeout(180):
            welcome = (await process.stdout.readuntil(b"Ctrl-C ends it all.")).decode()
        kubeconfig = re.findall(r"export KUBECONFIG=(\S+)", welcome)[0]
        kubectl = re.findall(r"alias kubectl=(\S+)", welcome)[0]
        lines = welcome.replace("\\\n", "")
        commands = re.findall(r"^  (kubectl .*[^&]|\.venv/bin/python .*)$", lines, re.MULTILINE)
        assert len(commands) == 10
        for command in commands:
            made = command.replace("kubectl", kubectl, 1).replace(".venv/bin/python", sys.executable, 1)
            assert await shell(made, kubeconfig)

        async def awake() -> bool:
            return "1/1" in await shell(f"{kubectl} get pods -n demo", kubeconfig)

        await eventually(awake, "the agent's first worker", 60.0, every=0.5)
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(60):
            _, errors = await process.communicate()
        assert (process.returncode, errors.decode().strip()) == (0, "cluster: stopped")
        assert not await asyncio.to_thread(Path(kubeconfig).exists)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_a_trace_is_replayed_with_every_task_done_once(tmp_path: Path) -> None:
    trace = tmp_path / "small.csv"
    rows = [f"2024-01-01 00:00:{second:02d}.5,1000,20" for second in range(10) for _ in range(1 + second % 4)]
    trace.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n" + "\n".join(rows) + "\n")
    picture = tmp_path / "out.png"
    process = await start("hack.cluster.demo", f"--trace={trace}", "--minutes=0.2", f"--picture={picture}")
    try:
        async with asyncio.timeout(300):
            shown, errors = (stream.decode() for stream in await process.communicate())
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert (process.returncode, errors) == (0, ""), shown
    table = {name.strip(): value.strip() for name, value in re.findall(r"│([^│]+)│([^│]+)│", shown)}
    assert table["tasks submitted"] == table["tasks done"] == str(len(rows))
    assert (table["tasks lost"], table["tasks retried"], table["pods killed"]) == ("0", "0", "0")
    assert picture.stat().st_size > 1000
