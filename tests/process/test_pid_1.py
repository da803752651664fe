"""Each program as PID 1, as in a container without an init: SIGTERM while it starts ends it, and it takes no task.

The kernel delivers no signal to PID 1 that has no handler. A Pod that was deleted during its imports went on for the
whole of its grace period, and an agent went on taking tasks for minutes.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ark_taskqueue import Client, Consumer, Producer, QueueKeys, read_depth
from hack.local.process import ChildProcess
from hack.local.redis_server import RedisServer

_AS_ROOT = ["unshare", "--pid", "--fork", "--kill-child"]
_AS_USER = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child"]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="PID namespaces are Linux'")

_FLAGS = {
    "ark_agent": ["--queue=default/writer", "--host=127.0.0.1", "--http-port=0", "--redis={redis}"],
    "ark_scaler": ["--host=127.0.0.1", "--port=0", "--http-port=0", "--redis={redis}"],
    "ark_operator": ["--image=x", "--host=127.0.0.1", "--http-port=0", "--redis={redis}", "--kubeconfig={kubeconfig}"],
}
_KUBECONFIG = """
apiVersion: v1
kind: Config
current-context: none
clusters: [{name: none, cluster: {server: "http://127.0.0.1:1"}}]
users: [{name: none, user: {}}]
contexts: [{name: none, context: {cluster: none, user: none}}]
"""


@contextmanager
def first_of_a_namespace(command: list[str], log: Path) -> Iterator[tuple[ChildProcess, int]]:
    """Run a command as PID 1 of a namespace; gives the process around it, and the command's own PID out here."""
    unshare = _AS_ROOT if os.geteuid() == 0 else _AS_USER
    with ChildProcess([*unshare, *command], log, environment={"DUMB_INIT_SETSID": "0"}) as outer:  # as in the image
        yield outer, _child_of(outer)


def _child_of(outer: ChildProcess) -> int:
    children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children")
    outer.wait_until(lambda: bool(children.read_text().strip()), 10, "unshare")
    return int(children.read_text().split()[0])


def _handles(pid: int, number: signal.Signals) -> bool:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) & (1 << (number - 1)))


def test_below_the_images_init_a_program_may_take_its_time_to_listen(folder: Path) -> None:
    init = str(Path(sys.executable).with_name("dumb-init"))
    command = [init, sys.executable, "-c", "import time; time.sleep(600)"]
    with first_of_a_namespace(command, folder / "log") as (outer, pid):
        children = Path(f"/proc/{pid}/task/{pid}/children")

        def begun() -> bool:
            """Return whether the program is there; it will never have a handler."""
            if not (child := children.read_text().strip()):
                return False
            return Path(f"/proc/{child}/cmdline").read_bytes().startswith(sys.executable.encode())

        outer.wait_until(begun, 30, "the program", every=0.002)
        os.kill(pid, signal.SIGTERM)
        assert outer.wait(30) == 128 + signal.SIGTERM


@pytest.mark.parametrize("delay", [0.1, 0.3, 0.6, 1.0, 2.0])
@pytest.mark.parametrize("program", list(_FLAGS))
async def test_a_signal_while_it_starts_ends_a_program(
    redis_server: RedisServer, client: Client, queue: QueueKeys, folder: Path, program: str, delay: float
) -> None:
    kubeconfig = folder / "kubeconfig"
    kubeconfig.write_text(_KUBECONFIG)
    flags = [flag.format(redis=redis_server.url, kubeconfig=kubeconfig) for flag in _FLAGS[program]]
    began = time.monotonic()
    with first_of_a_namespace([sys.executable, "-m", program, *flags], folder / "log") as (outer, pid):
        # On a busy machine the interpreter itself may not have begun after a tenth of a second.
        outer.wait_until(lambda: _handles(pid, signal.SIGTERM), 30, "the program's first lines", every=0.002)
        handled = time.monotonic() - began
        await asyncio.sleep(max(0.0, delay - handled))
        await Producer(client, queue).submit("x")
        os.kill(pid, signal.SIGTERM)
        sent = time.monotonic()
        assert outer.wait(20) is not None, f"it goes on after SIGTERM at {delay} s:\n{outer.output()}"
        print(
            f"{program}: handler after {handled:.2f} s, SIGTERM after {sent - began:.2f} s, "
            f"ended {time.monotonic() - sent:.2f} s later"
        )
    depth = await read_depth(client, queue)
    if program == "ark_agent" and depth.demand:
        # One that was about to work may have been given the task just before the signal; then it gave it back.
        [task] = await Consumer(client, queue, "next").claim(1)
        assert task.attempt == 1
    assert "Traceback" not in outer.output()
