"""``make cluster-demo``: replay a stretch of a trace on the process cluster, at real speed, with the live chart.

What `hack.demo` plays with a stand-in for KEDA, on the real one: KEDA and the HPA keep their own time, so nothing can
be played faster than it was.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from ark_cli import trace
from ark_process.exceptions import leaves
from ark_taskqueue import Producer, QueueKeys, TaskQueueError, connect
from hack.cluster import api, manifests, programs
from hack.cluster.access import Access, local
from hack.cluster.api import DEPLOYMENTS, PODS, Api, ApiError
from hack.cluster.kubectl import KubectlFailed
from hack.cluster.manifests import REDIS, SCALER, Scaling
from hack.cluster.process_cluster import CannotStart, ProcessCluster
from hack.demo import chart, picture, player, program, result, summary
from hack.demo.clock import DemoClock
from hack.demo.load import Load
from hack.demo.measure import Sampler, outcomes
from hack.local import command
from hack.local.options import file, number, whole

_NAMESPACE = "demo"
_AGENT = "agent"
_QUEUE = QueueKeys.for_agent(_NAMESPACE, _AGENT)
_SLOTS = 5
_GRACE_SECONDS = 90
_COOLDOWN_SECONDS = 30
_LONGEST_END_SECONDS = 300.0
_KILLED = 137


@dataclass(slots=True)
class Pool:
    """The workers' Deployment, as the cluster has it."""

    replicas: int = 0
    exits: dict[str, int] = field(default_factory=dict)
    """Exit codes of workers, by Pod."""

    async def follow_replicas(self, cluster: Api) -> None:
        """Keep `replicas` up to date, until cancelled."""
        async for event in cluster.watch(DEPLOYMENTS.path(_NAMESPACE), fieldSelector=f"metadata.name={_AGENT}-agent"):
            self.replicas = event.object["spec"]["replicas"]

    async def follow_exits(self, cluster: Api) -> None:
        """Keep `exits` up to date, until cancelled."""
        async for event in cluster.watch(PODS.path(_NAMESPACE), labelSelector=f"app={_AGENT}-agent"):
            for status in event.object.get("status", {}).get("containerStatuses", []):
                for state in (status["state"], status["lastState"]):
                    if "terminated" in state:
                        self.exits[event.object["metadata"]["name"]] = state["terminated"]["exitCode"]

    @property
    def ends(self) -> result.WorkerEnds:
        """Workers that did not end as they should."""
        codes = list(self.exits.values())
        return result.WorkerEnds(codes.count(_KILLED), sum(code not in (0, _KILLED) for code in codes))


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make cluster-demo",
        description="Replay a stretch of a trace on a real Kubernetes and KEDA, at real speed.",
    )
    parser.add_argument("--trace", type=Path, default=summary.DEFAULT, help="CSV file (TRACE=); default: %(default)s")
    parser.add_argument(
        "--minutes", type=number(above=True), default=5.0, help="length of the stretch (MINUTES=); default: 5"
    )
    parser.add_argument("--from-minute", type=number(), default=0.0, help="where it begins (FROM=); default: 0")
    parser.add_argument(
        "--max-replicas",
        type=whole(1, 100),
        default=10,
        help="maximum size of the pool (REPLICAS=); default: %(default)s",
    )
    parser.add_argument(
        "--picture", type=file((".png", ".svg")), default=Path(".demo/cluster.png"), help="png or svg file to write"
    )
    return parser.parse_args(arguments)


def _deploy(access: Access, max_replicas: int) -> str:
    """Deploy everything; return the URL of Redis."""
    access.kubectl.apply([manifests.namespace(_NAMESPACE), *manifests.redis(_NAMESPACE)])
    redis = f"redis://{access.address(_NAMESPACE, REDIS, manifests.REDIS_PORT)}/0"
    access.kubectl.apply(manifests.scaler(_NAMESPACE, redis))
    for name in (REDIS, SCALER):
        access.wait_ready(_NAMESPACE, name)
    scaler = access.address(_NAMESPACE, SCALER, manifests.SCALER_PORT)
    trigger = manifests.ark_trigger(scaler, queue=_QUEUE.name, tasksPerReplica=str(_SLOTS))
    scaling = Scaling(max_replicas=max_replicas, cooldown_seconds=_COOLDOWN_SECONDS, scale_down_seconds=60)
    access.kubectl.apply(
        [
            manifests.workers(_NAMESPACE, _AGENT, redis, slots=_SLOTS, grace_seconds=_GRACE_SECONDS),
            manifests.scaled_object(_NAMESPACE, _AGENT, [trigger], scaling),
        ]
    )
    return redis


async def _play(options: argparse.Namespace, arrivals: Sequence[trace.Arrival], console: Console) -> int:
    seconds = options.minutes * 60
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="ark-cluster-", ignore_cleanup_errors=True))
        cluster = ProcessCluster(Path(folder))
        stack.callback(cluster.stop)
        await asyncio.to_thread(cluster.start)
        access = local(cluster.state)
        redis = await asyncio.to_thread(_deploy, access, options.max_replicas)
        console.print(
            f"{len(arrivals):,} requests over {options.minutes:g} min ({options.trace.name}) at real speed; "
            f"Kubernetes {programs.KUBERNETES.version}, KEDA {programs.KEDA.version}"
        )
        client = connect(redis)
        stack.push_async_callback(client.aclose)
        connected = await stack.enter_async_context(api.connect(access.kubectl.kubeconfig))
        pool, clock = Pool(), DemoClock(1.0)
        producer = Producer(client, _QUEUE, max_depth=len(arrivals) + 1)
        load = Load(producer, arrivals, clock)
        sampler = Sampler(client, _QUEUE, pool, load, clock)
        display = chart.progress(console, seconds)
        stack.callback(display.close)
        clock.restart()
        async with asyncio.TaskGroup() as group:
            watches = [
                group.create_task(pool.follow_replicas(connected)),
                group.create_task(pool.follow_exits(connected)),
            ]
            await player.play(
                load,
                sampler,
                display,
                seconds=seconds,
                tail_seconds=_COOLDOWN_SECONDS + 60.0,
                longest_tail_seconds=_LONGEST_END_SECONDS,
            )
            for watch in watches:
                watch.cancel()
        display.close()
        found = await outcomes(producer, load.task_ids, 1.0)
    picture.save(sampler.samples, options.picture, f"{options.trace.name} on Kubernetes and KEDA, at real speed")
    console.print(result.table(found, sampler, pool.ends), f"picture: {options.picture}")
    return result.tell(result.problems(found, len(arrivals), pool.ends))


def main() -> int:
    """Run the demo."""
    options = _parse(sys.argv[1:])
    try:
        arrivals = trace.stretch(trace.read(options.trace), options.from_minute, options.from_minute + options.minutes)
        return program.run(lambda: _play(options, arrivals, Console(highlight=False)))
    except trace.BadTrace as error:
        print(f"demo: {error}", file=sys.stderr)
        return 2
    except (CannotStart, KubectlFailed, programs.CannotBuild, TaskQueueError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except BaseExceptionGroup as group:
        expected, rest = group.split((player.DemoFailed, ApiError, TaskQueueError))
        if rest is not None or expected is None:
            raise
        print(f"demo: {next(iter(leaves(expected)))}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    command.run(main)
