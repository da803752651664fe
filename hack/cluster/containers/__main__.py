"""``python -m hack.cluster.containers``: say whether this machine can have a real node; exit code 3 where it cannot."""

from __future__ import annotations

import os
import sys

from hack.cluster import addresses
from hack.cluster.containers import packages, sandbox
from hack.local import command

_CANNOT = 3


def main() -> int:
    """Install what is missing, ask the kernel, and try a sandbox."""
    try:
        packages.ensure()
        if (refusal := sandbox.refusal()) is not None:
            raise packages.Missing(refusal)
        return sandbox.run(["true"], os.environ)
    except packages.Missing as error:
        print(f"no real node: {error}", file=sys.stderr)
        return _CANNOT
    except (packages.CannotInstall, addresses.NoAddresses) as error:
        print(f"no real node: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    command.run(main)
