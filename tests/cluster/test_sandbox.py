"""What a real node runs in: whatever happens to it, nothing of it is left."""

from __future__ import annotations

import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from hack.cluster.containers import sandbox

pytestmark = pytest.mark.containers
ROOT = Path(__file__).resolve().parents[2]
RUN = "import os, sys; from hack.cluster.containers import sandbox; sys.exit(sandbox.run(sys.argv[1:], os.environ))"
END_SECONDS = 30.0


@pytest.fixture(autouse=True)
def privileged() -> None:
    if not sandbox.inside():
        pytest.skip("it takes root and namespaces, which CLUSTER=node has")


@contextmanager
def started(*command: str) -> Iterator[subprocess.Popen[str]]:
    line = [sys.executable, "-c", RUN, *command]
    with subprocess.Popen(line, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def running(token: str) -> list[str]:
    """Return the command lines of what sleeps for so long."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            found.append(path.read_bytes().replace(b"\0", b" ").decode())
    return [line for line in found if line.startswith(f"sleep {token}")]


def cgroups(name: str) -> list[Path]:
    return [hierarchy / name for hierarchy in sandbox.hierarchies() if (hierarchy / name).exists()]


def becomes(condition: Callable[[], bool]) -> bool:
    """Return whether something becomes true in time."""
    deadline = time.monotonic() + END_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def test_nothing_of_a_sandbox_outlives_it(tmp_path: Path) -> None:
    for killed in (False, True):
        lives_and_ends(tmp_path, killed=killed)


def lives_and_ends(mounted: Path, *, killed: bool) -> None:
    token = f"600.{uuid.uuid4().int % 10**9}"
    script = f"setsid sleep {token} & mount -t tmpfs tmpfs {mounted}; cat /proc/1/cmdline; echo; read line; exit 3"
    with started("sh", "-c", script) as made:
        assert made.stdin is not None
        assert made.stdout is not None
        [name] = [word for word in made.stdout.readline().split("\0") if word.startswith("ark-node-")]
        assert becomes(lambda: bool(running(token)))
        assert cgroups(name)
        if killed:
            made.kill()
        else:
            made.stdin.close()
        assert made.wait(END_SECONDS) == (-9 if killed else 3)
        assert becomes(lambda: not running(token))
        assert str(mounted) not in Path("/proc/mounts").read_text()
    if killed:
        with started("true") as next_one:  # it has the number that has become free
            assert next_one.wait(END_SECONDS) == 0
    assert cgroups(name) == []
