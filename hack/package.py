"""``make package``: what of the image can be checked without a container engine.

The wheel is built by the pinned builder and installed with the pinned packages into an empty virtual environment, as
the Dockerfile does. Each program is started from there: the scaler and a worker until they have a Redis and a task
behind them. For every platform of the image each pinned package must have a wheel. The plugin of kubectl, for krew, is
built and started too.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from ark_taskqueue import Producer, QueueKeys, connect
from hack.local.process import ChildProcess, StartFailed, free_port
from hack.local.redis_server import RedisServer

_ROOT = Path(__file__).resolve().parents[1]
_DOCKERFILE = _ROOT / "Dockerfile"
_COPIED = re.compile(r"^COPY (?!--from)(.*)$", re.MULTILINE)
_PYTHON = re.compile(r"^ARG BASE=python:(\d+\.\d+)", re.MULTILINE)
_SCRIPTS = _ROOT / "hack" / "image"
_PLATFORMS = ("x86_64-manylinux_2_28", "aarch64-manylinux_2_28")
_PROGRAMS = ("ark-scaler", "ark-operator", "ark-agent", "kubectl-ark")
_SECONDS = 60.0


class Broken(Exception):
    """The package does not work; the message says what did not."""


def main() -> int:
    """Check the package."""
    argparse.ArgumentParser(prog="make package", description=__doc__).parse_args()
    try:
        with tempfile.TemporaryDirectory(prefix="ark-package-") as folder:
            _check(Path(folder))
    except (Broken, StartFailed) as error:
        print(f"package: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _check(folder: Path) -> None:
    _have_wheels()
    wheel = _build(folder)
    programs = _install(folder, wheel)
    for name in _PROGRAMS:
        shown = _run(str(programs / name), "--help", cwd=folder)
        if f"usage: {name.replace('kubectl-', 'kubectl ')}" not in shown.lower():
            raise Broken(f"{name} --help says {shown[:200]!r}")
    if "status" not in _run(str(programs / "kubectl_complete-ark"), "stat", cwd=folder):
        raise Broken("kubectl_complete-ark proposes no status")
    asyncio.run(_work(folder, programs))
    operator = subprocess.run(
        [str(programs / "ark-operator"), "--image=x", "--kubeconfig=/nowhere"],
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    if operator.returncode != 2 or "/nowhere" not in operator.stderr:
        raise Broken(f"ark-operator without a cluster ended with {operator.returncode}: {operator.stderr[-1000:]}")
    _plugin(folder)
    print(f"package: {wheel.name} and the plugin work from an empty environment; wheels for {' and '.join(_PLATFORMS)}")


def _have_wheels() -> None:
    """See to it that every pinned package has a wheel for each platform of the image."""
    match = _PYTHON.search(_DOCKERFILE.read_text())
    if match is None:
        raise Broken("the Dockerfile names no version of Python")
    for platform in _PLATFORMS:
        for lock in ("requirements-image.lock", "requirements-build.lock"):
            with tempfile.TemporaryDirectory(prefix="ark-wheels-") as empty:
                _run(
                    *(_uv(), "pip", "install", "--dry-run", "--target", empty, "--require-hashes", "--no-deps"),
                    *("--only-binary", ":all:", "--python-platform", platform, "--python-version", match[1]),
                    *("-r", str(_ROOT / lock)),
                )


def _build(folder: Path) -> Path:
    """Build the wheel from what the Dockerfile copies, and nothing else: hatchling leaves out what is not there."""
    _environment(folder / "build", "requirements-build.lock")
    program = folder / "build" / "bin" / "hatchling"
    context = folder / "context"
    context.mkdir()
    for line in _COPIED.findall(_DOCKERFILE.read_text()):
        for name in line.split()[:-1]:
            if (_ROOT / name).is_dir():
                shutil.copytree(_ROOT / name, context / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(_ROOT / name, context)
    _run(str(program), "build", "-t", "wheel", "-d", str(folder / "dist"), cwd=context)
    [wheel] = (folder / "dist").glob("*.whl")
    return wheel


def _install(folder: Path, wheel: Path) -> Path:
    _environment(folder / "ark", "requirements-image.lock")
    python = str(folder / "ark" / "bin" / "python")
    _run(_uv(), "pip", "install", "--quiet", "--python", python, "--no-deps", "--no-index", str(wheel))
    _run("sh", str(_SCRIPTS / "prune.sh"), str(folder / "ark"))
    if sys.platform == "linux":
        _run("sh", str(_SCRIPTS / "first.sh"), str(folder / "ark"))
    return folder / "ark" / "bin"


def _plugin(folder: Path) -> None:
    """Build kubectl ark as a release does, and start it from where it was unpacked."""
    _environment(folder / "publish", "requirements-publish.lock")
    python = str(folder / "publish" / "bin" / "python")
    _run(python, "-m", "hack.publish", "plugin", "--python", sys.executable, str(folder / "plugin"), cwd=_ROOT)
    [archive] = (folder / "plugin").glob("kubectl-ark_*.tar.gz")
    with tarfile.open(archive) as tar:
        tar.extractall(folder / "krew", filter="data")
    # As a shell starts it, with whatever is called python3 there: here the one that it was built for.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    shown = _run("env", f"PATH={path}", str(folder / "krew" / "kubectl-ark"), "--help", cwd=folder)
    with (folder / "krew" / "kubectl-ark").open("rb") as program:
        if program.readline() != b"#!/usr/bin/env python3\n":
            raise Broken("the plugin is for one version of Python alone")
    if "Usage: kubectl ark" not in shown or not (folder / "krew" / "LICENSE").is_file():
        raise Broken(f"the plugin's --help says {shown[:200]!r}")


def _environment(target: Path, lock: str) -> None:
    """Make a virtual environment with the packages of a lock file, and nothing else."""
    _run(_uv(), "venv", "--quiet", "--python", sys.executable, str(target))
    python = str(target / "bin" / "python")
    pinned = ("--require-hashes", "--no-deps", "--only-binary", ":all:", "-r", str(_ROOT / lock))
    _run(_uv(), "pip", "install", "--quiet", "--python", python, *pinned)


async def _work(folder: Path, programs: Path) -> None:
    """Start scaler and worker, and have a task done."""
    with RedisServer(folder / "redis") as redis:
        flags = {"redis": redis.url, "host": "127.0.0.1", "http-port": "0"}
        scaler = {**flags, "port": str(free_port())}
        agent = {**flags, "queue": "default/writer", "model": "echo", "name": "package"}
        with (
            _program(folder, programs, "ark-scaler", scaler) as first,
            _program(folder, programs, "ark-agent", agent) as second,
        ):
            first.wait_until(lambda: "redis is reachable" in first.output(), _SECONDS, "ark-scaler")
            client = connect(redis.url)
            try:
                async with asyncio.timeout(_SECONDS):
                    producer = Producer(client, QueueKeys.for_agent("default", "writer"))
                    result = await producer.wait_for_result((await producer.submit("hello")).task_id)
            finally:
                await client.aclose()
            codes = (first.stop(), second.stop())
    if result.status != "completed" or codes != (0, 0):
        raise Broken(f"the task ended as {result}, the programs with {codes}")


def _program(folder: Path, programs: Path, name: str, flags: dict[str, str]) -> ChildProcess:
    command = [str(programs / name), *(f"--{flag}={value}" for flag, value in flags.items())]
    return ChildProcess(command, folder / f"{name}.log", environment={"DUMB_INIT_SETSID": "0"})  # as in the image


def _uv() -> str:
    return str(Path(sys.executable).with_name("uv"))


def _run(*command: str, cwd: Path | None = None) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    ended = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    if ended.returncode != 0:
        raise Broken(f"{' '.join(command[:6])} ... ended with {ended.returncode}:\n{ended.stderr[-3000:]}")
    return ended.stdout


if __name__ == "__main__":
    sys.exit(main())
