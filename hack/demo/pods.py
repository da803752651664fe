"""A deployment of worker processes: pods without a cluster.

A pod is a process of ``ark-agent``. It is forked from a server process that has the program loaded already: a start
takes some milliseconds, which at the demo's speed are the seconds that a container takes to start. It ends like a pod
ends: SIGTERM, the grace period, and SIGKILL, which must not happen.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import sys
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from types import TracebackType
from typing import Self

from ark_agent import main
from ark_agent.settings import AgentSettings
from ark_process import logs
from ark_taskqueue import Budget

GRACE_SECONDS = 20.0
"""Real seconds from SIGTERM to SIGKILL."""
_LOOK_SECONDS = 0.2
_TOKENS_PER_CALL = 100_000
"""More than any request of the traces has."""


def _run_agent(config: AgentSettings, log: str) -> None:
    """Be a pod's process."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(descriptor, sys.stdout.fileno())
    os.dup2(descriptor, sys.stderr.fileno())
    # Ctrl-C at the terminal reaches every process; the demo ends the pods itself, in order.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logs.configure(config.log_level, config.log_format)
    asyncio.run(main.work(config, signals=(signal.SIGTERM,)))


@dataclass(frozen=True, slots=True)
class _Pod:
    name: str
    process: ForkServerProcess


class PodDeployment:
    """Keeps as many pods running as it has replicas; leaving its context ends them all.

    Args:
        redis_url: where the workers find the queue.
        queue: ``<namespace>/<agent>``.
        slots: tasks that one pod works on at a time.
        folder: gets the pods' logs.
        budget: what all of them may spend; None for no limit.
    """

    def __init__(self, redis_url: str, queue: str, slots: int, folder: Path, budget: Budget | None = None) -> None:
        self._redis_url = redis_url
        self._queue = queue
        self._slots = slots
        self._folder = folder
        self._budget = budget or Budget(None, _TOKENS_PER_CALL)
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["ark_agent.main", "ark_process.logs"])
        self._pods: list[_Pod] = []
        self._tasks = asyncio.TaskGroup()
        self._started = 0
        self.replicas = 0
        """``spec.replicas``."""
        self.killed = 0
        """Pods that had to be killed after their grace period."""
        self.crashed = 0
        """Pods that ended by themselves."""

    def scale(self, replicas: int) -> None:
        """Set the replicas; the youngest pods go first."""
        self.replicas = replicas
        while len(self._pods) < replicas:
            self._pods.append(self._start())
        while len(self._pods) > replicas:
            self._tasks.create_task(self._terminate(self._pods.pop()))

    async def run(self) -> None:
        """Replace pods that end by themselves, until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            ended = [pod for pod in self._pods if not pod.process.is_alive()]
            for pod in ended:
                self.crashed += 1
                self._pods.remove(pod)
            if ended:
                self.scale(self.replicas)

    def warm_up(self) -> None:
        """Start the process that pods are forked from, by a pod that ends at once."""
        process = self._context.Process(target=_nothing)
        process.start()
        process.join()

    def _start(self) -> _Pod:
        self._started += 1
        name = f"{self._queue.replace('/', '-')}-{self._started}"
        config = AgentSettings(
            redis=self._redis_url,
            queue=self._queue,
            name=name,
            max_concurrent_tasks=self._slots,
            grace_seconds=GRACE_SECONDS * 0.9,
            max_tokens=self._budget.per_call,
            daily_token_limit=self._budget.daily or 0,
            log_level="warning",
            host="127.0.0.1",
            http_port=0,
        )
        process = self._context.Process(
            target=_run_agent, args=(config, str(self._folder / f"{name}.log")), name=name, daemon=True
        )
        process.start()
        return _Pod(name, process)

    async def _terminate(self, pod: _Pod) -> None:
        pod.process.terminate()
        try:
            async with asyncio.timeout(GRACE_SECONDS):
                await _ended(pod.process)
        except TimeoutError:
            self.killed += 1
        finally:
            if pod.process.is_alive():
                pod.process.kill()
            pod.process.join()

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.scale(0)
        # Also when the demo was stopped or failed: with the error, the group would cancel what ends the pods.
        await self._tasks.__aexit__(None, None, None)


async def _ended(process: ForkServerProcess) -> None:
    """Wait for the end of a process, without a thread for each."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(process.sentinel, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(process.sentinel)


def _nothing() -> None:
    """End at once."""
