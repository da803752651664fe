"""``python -m hack.cluster.node``: run the process node until SIGTERM."""

from __future__ import annotations

import argparse
import asyncio
import signal
import ssl
import sys
from pathlib import Path

from ark_process import logs
from hack.cluster.addresses import Block
from hack.cluster.api import connect
from hack.cluster.node.node import Ports, ProcessNode
from hack.cluster.node.orphans import end_forgotten
from hack.cluster.node.pod import Cluster


async def _main(options: argparse.Namespace) -> None:
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(options.authority))
    tls.verify_mode = ssl.CERT_REQUIRED
    tls.load_cert_chain(options.certificate, options.key)
    running = asyncio.current_task()
    assert running is not None
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, running.cancel)
    async with connect(options.kubeconfig) as api:
        cluster = Cluster(api, options.server, options.authority)
        await ProcessNode(
            cluster, Block(options.block), options.folder, Ports(options.port, options.kubelet_port), tls
        ).run()


def main() -> int:
    """Run the node."""
    parser = argparse.ArgumentParser(prog="python -m hack.cluster.node", description=__doc__)
    parser.add_argument("--kubeconfig", type=Path, required=True, help="the node's access to the API server")
    parser.add_argument("--server", required=True, help="the API server's URL, for Pods")
    parser.add_argument("--authority", type=Path, required=True, help="PEM file of the cluster's CA")
    parser.add_argument("--certificate", type=Path, required=True, help="PEM file of the node's certificate")
    parser.add_argument("--key", type=Path, required=True, help="PEM file of its key")
    parser.add_argument("--port", type=int, required=True, help="port of loopback for the node's own endpoint")
    parser.add_argument("--kubelet-port", type=int, required=True, help="port that the API server is to call")
    parser.add_argument("--block", type=int, default=0, help="number of the block of addresses for Pods")
    parser.add_argument("--folder", type=Path, required=True, help="gets a folder for each Pod")
    options = parser.parse_args()
    logs.configure("info", "json")
    options.folder.mkdir(parents=True, exist_ok=True)
    end_forgotten(options.folder)
    try:
        asyncio.run(_main(options))
    except asyncio.CancelledError:
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
