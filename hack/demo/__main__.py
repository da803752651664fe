"""``make demo``, or ``python -m hack.demo``."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import grpc
from rich.console import Console

from ark_cli import trace
from ark_process.exceptions import leaves
from ark_scaler.wire import externalscaler_pb2 as wire
from ark_sizing import hpa
from ark_taskqueue import Producer, QueueKeys, TaskQueueError, connect
from hack.demo import budget_act, chart, picture, player, program, result, summary
from hack.demo.clock import DemoClock
from hack.demo.keda import KedaStandIn, ScaledObject
from hack.demo.load import Load
from hack.demo.measure import Sampler, outcomes
from hack.demo.pods import PodDeployment
from hack.local import command
from hack.local.options import file, number, whole
from hack.local.process import StartFailed
from hack.local.redis_binary import NoServer
from hack.local.redis_server import RedisServer
from hack.local.scaler_process import ScalerProcess

QUEUE = QueueKeys.for_agent("demo", "agent")
SLOTS = 5
"""Tasks that a pod works on at a time, and the metric's target."""
COOLDOWN_SECONDS = 120.0
POLLING_SECONDS = 30.0
BEHAVIOR = hpa.Behavior(scale_up=hpa.UNTHROTTLED_UP, scale_down=hpa.Rules(60, (hpa.Policy("Percent", 100),)))
_AIMED_SECONDS = 55.0
"""Real seconds that a trace takes where no speed is given."""
_SAMPLE_SECONDS = 0.2
_LONGEST_END_SECONDS = 60.0
"""Real seconds after the trace within which everything must be done and scaled to zero."""
_RESULTS_FOLDER = Path(".demo")


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says."""

    trace: Path
    speed: float | None
    max_replicas: int
    picture: Path
    budget: bool
    """Whether there is a second act."""


def parse_options(arguments: Sequence[str]) -> Options:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="make demo", description="Replay a trace through queue, scaler and workers, faster than real time."
    )
    parser.add_argument("--trace", type=Path, default=summary.DEFAULT, help="CSV file (TRACE=); default: %(default)s")
    parser.add_argument(
        "--speed", type=number(above=True), help="trace seconds per second (SPEED=); default: about a minute in total"
    )
    parser.add_argument(
        "--max-replicas",
        type=whole(1, 100),
        default=20,
        help="maximum size of the pool (REPLICAS=); default: %(default)s",
    )
    parser.add_argument(
        "--picture", type=file((".png", ".svg")), default=_RESULTS_FOLDER / "demo.png", help="png or svg file to write"
    )
    parser.add_argument(
        "--no-budget", dest="budget", action="store_false", help="leave out the second act, the daily token cap"
    )
    return Options(**vars(parser.parse_args(arguments)))


async def play(options: Options, arrivals: Sequence[trace.Arrival], console: Console) -> int:
    """Play the demo; return the exit code."""
    trace_seconds = max(arrivals[-1].at, 1.0)
    speed = options.speed or max(1.0, trace_seconds / _AIMED_SECONDS)
    clock = DemoClock(speed)
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ark-demo-")))
        redis = stack.enter_context(RedisServer(folder / "redis", persistent=False))
        scaler = stack.enter_context(ScalerProcess(folder / "scaler", {"redis": redis.url}))
        console.print(
            f"{len(arrivals):,} requests over {trace_seconds / 60:.0f} min ({options.trace.name}) at {speed:.0f} x;"
            f" {redis.binary}, up to {options.max_replicas} workers of {SLOTS} slots"
        )
        client = connect(redis.url)
        stack.push_async_callback(client.aclose)
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{scaler.grpc_port}"))
        pods = PodDeployment(redis.url, QUEUE.name, SLOTS, folder)
        await asyncio.to_thread(pods.warm_up)
        await stack.enter_async_context(pods)
        producer = Producer(client, QUEUE, max_depth=len(arrivals) + 1)
        load = Load(producer, arrivals, clock)
        sampler = Sampler(client, QUEUE, pods, load, clock)
        keda = KedaStandIn(_scaled_object(options), channel, pods, clock)
        display = chart.progress(console, trace_seconds)
        stack.callback(display.close)
        clock.restart()
        try:
            playing = player.play(
                load,
                sampler,
                display,
                seconds=trace_seconds / speed,
                tail_seconds=(COOLDOWN_SECONDS + POLLING_SECONDS) / speed,
                longest_tail_seconds=_LONGEST_END_SECONDS,
            )
            await _played(pods, keda, playing)
        except* (player.DemoFailed, TaskQueueError) as group:
            raise next(iter(leaves(group))) from None
        display.close()
        found = await outcomes(producer, load.task_ids, speed)
        title = f"{options.trace.name}: {found.completed:,} tasks at {speed:.0f} x speed"
        picture.save(sampler.samples, options.picture, title)
        ends = result.WorkerEnds(pods.killed, pods.crashed)
        console.print(
            result.table(found, sampler, ends, [("calls to the scaler that failed", f"{keda.errors:,}")]),
            f"picture: {options.picture}",
        )
        problems = result.problems(found, len(arrivals), ends)
        if options.budget:
            path = options.picture.with_stem(f"{options.picture.stem}-budget")
            problems += await budget_act.play(redis.url, client, channel, folder, console, path)
    return result.tell(problems)


def _scaled_object(options: Options) -> ScaledObject:
    metadata = {"queue": QUEUE.name, "tasksPerReplica": str(SLOTS), "scalerAddress": "ark-scaler.ark:6000"}
    return ScaledObject(
        wire.ScaledObjectRef(name="agent", namespace="demo", scalerMetadata=metadata),
        polling_seconds=POLLING_SECONDS,
        cooldown_seconds=COOLDOWN_SECONDS,
        max_replicas=options.max_replicas,
        behavior=BEHAVIOR,
    )


async def _played(pods: PodDeployment, keda: KedaStandIn, playing: Coroutine[None, None, None]) -> None:
    """Run pods and KEDA's stand-in while the trace is played."""
    async with asyncio.TaskGroup() as tasks:
        helpers = [tasks.create_task(pods.run()), tasks.create_task(keda.run())]
        await playing
        for helper in helpers:
            helper.cancel()


def main() -> int:
    """Run the demo."""
    options = parse_options(sys.argv[1:])
    console = Console(highlight=False)
    try:
        arrivals = trace.read(options.trace)
        return program.run(lambda: play(options, arrivals, console))
    except trace.BadTrace as error:
        print(f"demo: {error}", file=sys.stderr)
        return 2
    except (player.DemoFailed, NoServer, StartFailed, TaskQueueError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    command.run(main)
