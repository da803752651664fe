"""Workers that are there at once: forked from a process that has imported everything.

On a cluster a Pod starts on a machine of its own. Here twenty of them would share two cores with the control plane,
and their imports alone take ten seconds of both: what the benchmark would show then is this machine. A worker of the
nursery costs a few milliseconds, and works so many seconds after its Pod was started as the nursery is told.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

import ark_agent
from hack.bench.trace.worker import work

_LOOK_SECONDS = 0.2
_READ = 65_536
_HEAD = 4


def serve(path: Path, start_seconds: float) -> None:
    """Fork a worker for each Pod that asks, until SIGTERM.

    Args:
        path: of the socket that Pods ask at.
        start_seconds: from the start of a Pod until it takes tasks.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel takes the dead away
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen(128)
        print("ready", flush=True)
        while True:
            pod, _ = listening.accept()
            if os.fork() == 0:
                listening.close()
                _keep(pod, start_seconds)
            pod.close()


def _keep(pod: socket.socket, start_seconds: float) -> None:
    """Be the keeper of one Pod's worker; does not return."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    born, descriptors = _received(pod)
    worker = os.fork()
    if worker == 0:
        pod.close()
        _work(born, descriptors, start_seconds)
    for descriptor in descriptors:
        os.close(descriptor)
    ended, status = 0, 0
    while not ended:
        readable, _, _ = select.select([pod], [], [], _LOOK_SECONDS)
        if readable:
            said = pod.recv(1)
            os.kill(worker, signal.SIGTERM if said else signal.SIGKILL)
            if not said:
                os.waitpid(worker, 0)
                os._exit(1)  # the Pod's process is gone
        ended, status = os.waitpid(worker, os.WNOHANG)
    pod.send(bytes([os.waitstatus_to_exitcode(status) % 256]))
    os._exit(0)


def _received(pod: socket.socket) -> tuple[dict[str, Any], list[int]]:
    data, descriptors, _, _ = socket.recv_fds(pod, _READ, 2)
    while len(data) < _HEAD or len(data) < (length := _HEAD + int.from_bytes(data[:_HEAD], "big")):
        more = pod.recv(_READ)
        if not more:
            os._exit(1)  # the Pod's process ended before it had said who it is
        data += more
    born: dict[str, Any] = json.loads(data[_HEAD:length])
    return born, list(descriptors)


def _work(born: dict[str, Any], descriptors: list[int], start_seconds: float) -> None:
    for target, descriptor in zip((1, 2), descriptors, strict=True):
        os.dup2(descriptor, target)
    os.environ.clear()
    os.environ.update(born["environment"])
    sys.argv = ["ark-agent"]
    time.sleep(max(0.0, start_seconds - (time.time() - born["at"])))
    code: Any = 1
    try:
        ark_agent.run(work)
        code = 0
    except SystemExit as ended:
        code = ended.code
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else int(code is not None))


if __name__ == "__main__":
    serve(Path(sys.argv[1]), float(sys.argv[2]))
