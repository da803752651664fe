"""``python -m hack.cluster.containers``: say whether this machine can have a real node; exit code 3 where it cannot."""

from __future__ import annotations

import os
import sys

from hack.cluster.containers import packages, sandbox
from hack.local import command

_CANNOT = 3


def main() -> int:
    """Install what is missing, and try a sandbox."""
    try:
        packages.ensure()
        if (code := sandbox.run(["true"], os.environ)) != 0:
            raise packages.Missing(f"namespaces, mounts or cgroups cannot be made here (exit code {code})")
    except packages.Missing as error:
        print(f"no real node: {error}", file=sys.stderr)
        return _CANNOT
    except packages.CannotInstall as error:
        print(f"no real node: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    command.run(main)
