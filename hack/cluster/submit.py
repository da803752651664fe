"""Submit tasks by hand: ``python -m hack.cluster.submit REDIS_URL NAMESPACE/AGENT --tasks 12 --seconds 20``."""

from __future__ import annotations

import argparse
import asyncio
import sys

from ark_taskqueue import InvalidAddress, InvalidQueueName, Producer, QueueKeys, TaskQueueError, connect
from hack.local.options import number, whole


async def _submit(options: argparse.Namespace) -> None:
    client = connect(options.redis)
    try:
        producer = Producer(client, QueueKeys.for_queue(options.queue))
        for place in range(options.tasks):
            wrote = options.tokens * 2 // 5
            meta = {"latency_seconds": options.seconds, "input_tokens": options.tokens - wrote, "output_tokens": wrote}
            await producer.submit(f"task {place}", meta=meta)
    finally:
        await client.aclose()


def main() -> int:
    """Submit the tasks."""
    parser = argparse.ArgumentParser(prog="python -m hack.cluster.submit", description="Submit tasks to a queue.")
    parser.add_argument("redis", help="URL of Redis")
    parser.add_argument("queue", help="<namespace>/<agent>")
    parser.add_argument("--tasks", type=whole(1), default=1, help="how many; default: %(default)s")
    parser.add_argument("--seconds", type=number(), default=10.0, help="how long each takes; default: %(default)s")
    parser.add_argument("--tokens", type=whole(0), default=0, help="how many each costs; default: %(default)s")
    options = parser.parse_args()
    try:
        asyncio.run(_submit(options))
    except (InvalidAddress, InvalidQueueName, TaskQueueError) as error:
        print(f"submit: {error}", file=sys.stderr)
        return 1
    print(f"{options.tasks} tasks submitted to {options.queue}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
