"""A Pod of the trace benchmark: asks the nursery for a worker, hands signals on to it, and ends as it ends.

Run with ``python -I -S``: without any package it is there in some ten milliseconds. See `hack.bench.trace.nursery`.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time


def main() -> int:
    """Be a worker; return its exit code."""
    with socket.socket(socket.AF_UNIX) as nursery:
        nursery.connect(sys.argv[1])
        signal.signal(signal.SIGTERM, lambda *_: nursery.send(b"T"))
        born = json.dumps({"environment": dict(os.environ), "at": time.time()}).encode()
        socket.send_fds(nursery, [len(born).to_bytes(4, "big") + born], [1, 2])
        answer = nursery.recv(1)  # a signal's handler runs in between, and the waiting goes on
        return answer[0] if answer else 1


if __name__ == "__main__":
    sys.exit(main())
