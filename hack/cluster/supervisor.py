"""Owns every process of a cluster: ``python -m hack.cluster.supervisor --folder=...``.

It starts them, writes its `State` into the folder when all are ready, starts again what crashes, and ends all of them
on SIGTERM, or when its standard input ends: that happens whenever whoever started it is gone, however it went.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import NoReturn

from hack.cluster import addresses, programs
from hack.cluster.certificates import KeyPair
from hack.cluster.component import Component, Components
from hack.cluster.containers.node import SERVICES, RealNode
from hack.cluster.containers.sandbox import NODE_ADDRESS
from hack.cluster.control_plane import ControlPlane
from hack.cluster.keda import Keda
from hack.cluster.kubectl import KubectlFailed
from hack.cluster.node.node import NAME, Ports
from hack.cluster.node.orphans import end_forgotten
from hack.cluster.state import State
from hack.local.process import StartFailed, free_port

_LOOK_SECONDS = 0.5
_KUBELET = "kubelet-endpoint"


class _Stopped(Exception):
    """A signal asked for the end."""


def _stop(_number: int, _frame: FrameType | None) -> None:
    raise _Stopped


def main() -> int:
    """Run a cluster."""
    parser = argparse.ArgumentParser(prog="python -m hack.cluster.supervisor", description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="gets all files")
    parser.add_argument("--images", type=Path, help="folder of images, for Pods of containers (in a sandbox only)")
    parser.add_argument("--hpa-sync-seconds", type=float, default=15.0, help="time between two decisions of the HPA")
    options = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)
    folder: Path = options.folder.resolve()
    logs = folder / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    components = Components(logs)
    try:
        threading.Thread(target=_stop_when_input_ends, daemon=True).start()
        with ExitStack() as stack:
            look = None
            if options.images is not None:
                state, look = _start_containers(folder, components, options.images, options.hpa_sync_seconds)
            else:
                block = stack.enter_context(addresses.claimed(programs.cache_folder() / "addresses"))
                state = _start_processes(folder, components, block, options.hpa_sync_seconds)
            state.write(folder)
            _supervise(folder, components, state, look)
    except _Stopped:
        pass
    except (StartFailed, KubectlFailed, programs.CannotBuild, addresses.NoAddresses) as error:
        print(f"cluster: {error}", file=sys.stderr, flush=True)
        return 1
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)  # the end is not to be interrupted
        components.stop()
        end_forgotten(folder / "pods")
    return 0


def _supervise(folder: Path, components: Components, state: State, look: Callable[[], None] | None) -> NoReturn:
    """Start again what crashes, and look after what else the node needs, until a signal comes."""
    while True:
        time.sleep(_LOOK_SECONDS)
        if look is not None:
            look()
        if crashed := components.restart_crashed():
            state = replace(state, pids=components.pids, restarted=(*state.restarted, *crashed))
            state.write(folder)


def _start_containers(
    folder: Path, components: Components, images: Path, hpa_sync_seconds: float
) -> tuple[State, Callable[[], None]]:
    built = programs.ensure(programs.NODE_FAMILIES)
    control_plane = ControlPlane(
        folder,
        built,
        services=SERVICES,
        hpa_sync_seconds=hpa_sync_seconds,
        address=NODE_ADDRESS,
        kubelets=True,
    )
    control_plane.start(components)
    node = RealNode(folder, built, control_plane, images)
    node.start(components)
    Keda(folder, built, control_plane).start(components)
    return State(control_plane.admin, built.kubectl, components.folder, components.pids), node.keep_logs


def _start_processes(folder: Path, components: Components, block: addresses.Block, hpa_sync_seconds: float) -> State:
    built = programs.ensure()
    control_plane = ControlPlane(folder, built, services=block.services, hpa_sync_seconds=hpa_sync_seconds)
    control_plane.start(components)
    ports, pair = Ports(free_port(), free_port()), control_plane.authority.issue(NAME, "localhost", "127.0.0.1")
    components.launch(_kubelet_endpoint(built, control_plane, components, ports, pair))
    components.launch(_node(folder, control_plane, components, block, ports, pair))
    Keda(folder, built, control_plane).start(components)
    components.wait(NAME)
    components.wait(_KUBELET)
    return State(control_plane.admin, built.kubectl, components.folder, components.pids)


def _kubelet_endpoint(
    built: programs.Programs, control_plane: ControlPlane, components: Components, ports: Ports, pair: KeyPair
) -> Component:
    """What the API server calls as this node's kubelet; it takes no caller without a certificate of the cluster's."""
    return Component(
        _KUBELET,
        [
            str(built.path(programs.KUBELET, "kubelet-endpoint")),
            f"--listen=127.0.0.1:{ports.kubelet}",
            f"--node=https://127.0.0.1:{ports.node}",
            f"--authority={control_plane.authority.certificate}",
            f"--certificate={pair.certificate}",
            f"--key={pair.key}",
        ],
        ready=lambda: "listening on" in components.log(_KUBELET).read_text(),
    )


def _node(
    folder: Path,
    control_plane: ControlPlane,
    components: Components,
    block: addresses.Block,
    ports: Ports,
    pair: KeyPair,
) -> Component:
    config = control_plane.kubeconfig_for(f"system:node:{NAME}", group="system:masters")
    return Component(
        NAME,
        [
            sys.executable,
            "-m",
            "hack.cluster.node",
            f"--kubeconfig={config}",
            f"--server={control_plane.url}",
            f"--authority={control_plane.authority.certificate}",
            f"--certificate={pair.certificate}",
            f"--key={pair.key}",
            f"--port={ports.node}",
            f"--kubelet-port={ports.kubelet}",
            f"--block={block.number}",
            f"--folder={folder / 'pods'}",
        ],
        ready=lambda: "node is ready" in components.log(NAME).read_text(),
    )


def _stop_when_input_ends() -> None:
    """Ask this process to end when whoever started it is gone, also while it still starts."""
    while os.read(sys.stdin.fileno(), 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
