"""One container as a process: started, probed, started again when it ends, and ended with its Pod."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ark_process.backoff import Backoff
from hack.cluster.node.command import REDIS_PROGRAMS, relocated
from hack.cluster.node.orphans import remember
from hack.cluster.node.probes import Probe
from hack.cluster.node.status import ContainerView, Running, State, Terminated, Waiting
from hack.local.process import die_with_parent
from hack.local.redis_binary import NoServer, newest

_RESTART = Backoff(10.0, 300.0)
"""The kubelet's, before every restart but the first."""
_HEALTHY_SECONDS = 600.0
"""A container that ran for so long is started again at once."""
_KILLED = 137
_OWN_PROGRAMS = frozenset({"python", "python3", "ark-agent", "ark-operator", "ark-scaler"})
_SYSTEM_VARIABLES = ("PATH", "LANG", "LC_ALL", "TZ", "TMPDIR")
"""What a process needs of this machine; everything else is the Pod's to say."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to run a container; made by the Pod, since it needs its volumes and its references."""

    command: Sequence[str]
    variables: Mapping[str, str]
    mounts: Mapping[str, Path]
    """Folders by the path that they are mounted at."""
    folder: Path
    log: Path


def program(name: str) -> str:
    """Return the program that a command's first word means: this project's own, the local Redis, or one on the PATH.

    Raises:
        FileNotFoundError: there is none.
    """
    if name in _OWN_PROGRAMS:
        return str(Path(sys.executable).parent / name)
    if name in REDIS_PROGRAMS:
        try:
            return str(newest().path)
        except NoServer as error:
            raise FileNotFoundError(str(error)) from error
    found = shutil.which(name)
    if found is None:
        raise FileNotFoundError(f"no program {name!r} on this machine")
    return found


class Container:
    """Runs one container until it has ended for good or is stopped.

    Args:
        spec: the container of a Pod.
        restart_policy: the Pod's.
        ip: the Pod's address.
        changed: called when there is something new to report.
    """

    def __init__(self, spec: dict[str, Any], restart_policy: str, ip: str, changed: Callable[[], None]) -> None:
        self.name: str = spec["name"]
        self._spec = spec
        self._restart_policy = restart_policy
        self._ip = ip
        self._changed = changed
        self._process: asyncio.subprocess.Process | None = None
        self._recipe: Recipe | None = None
        self._stopping = asyncio.Event()
        self._over = asyncio.Event()
        self._over.set()
        self._killing = False
        self._state: State = Waiting()
        self._last: Terminated | None = None
        self._ready = False
        self._started = False
        self._restarts = 0
        self._failures = 0
        """In a row."""

    @property
    def view(self) -> ContainerView:
        """What is to be said of it."""
        return ContainerView(
            self.name, self._spec["image"], self._state, self._last, self._ready, self._started, self._restarts
        )

    def hold(self, reason: str, message: str) -> None:
        """Say why it cannot be started."""
        self._to(Waiting(reason, message))

    async def run(self, recipe: Recipe) -> None:
        """Run it, again and again as the restart policy says, until `stop`."""
        self._recipe = recipe
        self._over.clear()
        try:
            await self._run(recipe)
        finally:
            self._over.set()

    async def _run(self, recipe: Recipe) -> None:
        while not self._stopping.is_set():
            began = datetime.now(UTC)
            try:
                ended = await self._run_once(recipe, began)
            except (OSError, ValueError) as error:  # ValueError: a NUL in a word or a variable
                self.hold("CreateContainerError", str(error))
            else:
                if self._is_over(ended):
                    self._to(ended)
                    return
                self._last = ended
                self._restarts += 1
                if (ended.ended - began).total_seconds() > _HEALTHY_SECONDS:
                    self._failures = 0
            await self._back_off()

    async def stop(self, grace_seconds: float) -> None:
        """End it: SIGTERM, then SIGKILL for its whole process group after the grace period; returns when it is over."""
        self._stopping.set()
        if grace_seconds > 0:
            self._signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(grace_seconds):
                    await self._over.wait()
            except TimeoutError:
                pass
        self.kill()
        await self._over.wait()

    def kill(self) -> None:
        """End it and all that it has started at once."""
        self._stopping.set()
        self._killing = True
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        """Send a signal to the process that runs now: SIGKILL to its whole group, as when a container ends."""
        if self._process is None:
            return
        with suppress(ProcessLookupError):
            if number == signal.SIGKILL:
                os.killpg(self._process.pid, number)
            else:
                os.kill(self._process.pid, number)  # its own method may take its exit code away

    def _is_over(self, ended: Terminated) -> bool:
        if self._stopping.is_set() or self._restart_policy == "Never":
            return True
        return self._restart_policy == "OnFailure" and ended.exit_code == 0

    async def _run_once(self, recipe: Recipe, began: datetime) -> Terminated:
        process = await self._spawn(recipe)
        self._process = process
        try:
            if self._stopping.is_set():  # it was stopped while it started
                self._signal(signal.SIGKILL if self._killing else signal.SIGTERM)
            remember(process.pid, recipe.folder / f"{self.name}.process")
            self._to(Running(began))
            async with asyncio.TaskGroup() as probing:
                probes = probing.create_task(self._probe())
                code = await process.wait()
                probes.cancel()
        finally:
            self._signal(signal.SIGKILL)  # also what it may have left behind
            self._process = None  # its id may be another's soon
            self._ready = self._started = False
        number = -code if code < 0 else None
        return Terminated(code if number is None else 128 + number, number, began, datetime.now(UTC))

    async def _spawn(self, recipe: Recipe) -> asyncio.subprocess.Process:
        words = [program(recipe.command[0]), *recipe.command[1:]]
        with recipe.log.open("ab") as log:
            return await asyncio.create_subprocess_exec(
                *words,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=asyncio.subprocess.STDOUT,
                cwd=recipe.folder,
                env=_environment(recipe, self._ip),
                start_new_session=True,
                preexec_fn=die_with_parent,
            )

    async def _probe(self) -> None:
        """Follow the probes: startup first, then the other two."""
        startup = Probe.of(self._spec, "startupProbe")
        if startup is not None:
            await self._started_up(startup)
        self._started = True
        readiness, liveness = Probe.of(self._spec, "readinessProbe"), Probe.of(self._spec, "livenessProbe")
        if readiness is None:
            self._set_ready(True)
        else:
            self._changed()
        async with asyncio.TaskGroup() as group:
            if readiness is not None:
                group.create_task(readiness.follow(self._ip, self._execute, self._set_ready))
            if liveness is not None:
                group.create_task(liveness.follow(self._ip, self._execute, self._set_alive))

    async def _started_up(self, probe: Probe) -> None:
        done = asyncio.get_running_loop().create_future()

        def tell(good: bool) -> None:
            if not good:
                self._set_alive(False)
            elif not done.done():
                done.set_result(None)

        async with asyncio.TaskGroup() as group:
            following = group.create_task(probe.follow(self._ip, self._execute, tell))
            await done
            following.cancel()

    def _set_ready(self, ready: bool) -> None:
        self._ready = ready
        self._changed()

    def _set_alive(self, alive: bool) -> None:
        if not alive:
            self._signal(signal.SIGKILL)

    async def _execute(self, command: list[str]) -> int:
        assert self._recipe is not None
        words = [relocated(word, self._recipe.mounts) for word in command]
        process = await asyncio.create_subprocess_exec(
            *[program(words[0]), *words[1:]],
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            cwd=self._recipe.folder,
            env=_environment(self._recipe, self._ip),
            start_new_session=True,
            preexec_fn=die_with_parent,
        )
        try:
            return await process.wait()
        except asyncio.CancelledError:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise

    async def _back_off(self) -> None:
        """Wait before the next start: not at all before the first, then 10 s, 20 s ... as the kubelet does."""
        if self._stopping.is_set():
            return
        if self._failures:
            pause = _RESTART.pause(self._failures)
            self._to(Waiting("CrashLoopBackOff", f"back-off {pause:g}s restarting failed container"))
            try:
                async with asyncio.timeout(pause):
                    await self._stopping.wait()
            except TimeoutError:
                pass
        self._failures += 1

    def _to(self, state: State) -> None:
        self._state = state
        self._changed()


def _environment(recipe: Recipe, ip: str) -> dict[str, str]:
    """Return a process's variables.

    In a Pod of its own a program listens on every address; here all Pods share this machine's, so it is told its own.
    """
    system = {name: os.environ[name] for name in _SYSTEM_VARIABLES if name in os.environ}
    hosts = dict.fromkeys(("AGENT_HOST", "ARK_SCALER_HOST", "ARK_OPERATOR_HOST"), ip)
    return {**system, "HOME": str(recipe.folder), **hosts, **recipe.variables}
