"""``make e2e``: run the end-to-end tests on a cluster of the wanted kind.

All test processes share the one cluster; each test has a namespace, a Redis and a scaler of its own.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from hack.cluster import kind, planted, programs
from hack.cluster.access import KINDS, NoCluster, current
from hack.cluster.containers import entry, sandbox
from hack.cluster.kubectl import KubectlFailed
from hack.cluster.process_cluster import CannotStart, ProcessCluster
from hack.local import command
from hack.local.process import heed_interrupts, watch_over

CLUSTER_VARIABLE = "ARK_E2E_CLUSTER"
"""Tells the tests which cluster to use: ``current``, ``node``, or the folder of a running process cluster."""
_ROOT = Path(__file__).resolve().parents[2]
_KEPT = _ROOT / ".e2e"
_FOLDER = "ark-e2e-"
_SHOWN = 20
"""Lines of logs that are shown where something private is in them."""
_CLEANING_SECONDS = 60.0
"""How long interrupted tests may take to remove what they have made."""


def main() -> int:
    """Run the tests and answer pytest's exit code."""
    parser = argparse.ArgumentParser(prog="make e2e", description="End-to-end tests on a real Kubernetes and KEDA.")
    parser.add_argument("--cluster", choices=KINDS, default="local", help="where (CLUSTER=); default: %(default)s")
    parser.add_argument("--keda-manifest", type=Path, help="KEDA's release manifest, for CLUSTER=kind (KEDA_MANIFEST=)")
    parser.add_argument(
        "pytest", nargs="*", help="arguments for pytest; default: all end-to-end tests, three at a time"
    )
    options = parser.parse_args()
    try:
        if options.cluster == "node" and not sandbox.inside():
            return entry.run_again("hack.cluster.e2e", sys.argv[1:], programs.TESTS)
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=_FOLDER, ignore_cleanup_errors=True)))
            environment, restarted = _prepare(options, folder, stack)
            code = _run_tests(options.pytest or ["-n", "3", "tests/cluster"], environment)
            if leaks := planted.in_files(_logs(folder)):
                print("e2e: a prompt or a key is in the logs:", *leaks[:_SHOWN], sep="\n  ", file=sys.stderr)
                return code or 1
            if names := restarted():
                print(
                    f"e2e: crashed and started again while the tests ran: {', '.join(names)}; see .e2e", file=sys.stderr
                )
                return code or 1
            return code
    except (CannotStart, KubectlFailed, NoCluster, kind.CannotMake, *entry.CANNOT) as error:
        print(f"e2e: {error}", file=sys.stderr)
        return 1


def _prepare(
    options: argparse.Namespace, folder: Path, stack: ExitStack
) -> tuple[dict[str, str], Callable[[], Sequence[str]]]:
    """Start the cluster where it is ours to start.

    Returns the variables that tell the tests about it, and what says which of its programs crashed.
    """
    if options.cluster == "current":
        current()
        return {CLUSTER_VARIABLE: "current"}, list
    if options.cluster == "kind":
        kubeconfig = stack.enter_context(kind.cluster(options.keda_manifest))
        return {CLUSTER_VARIABLE: "current", "KUBECONFIG": str(kubeconfig)}, list
    stack.callback(_keep_logs, folder)
    if options.cluster == "node":
        cluster = stack.enter_context(entry.real_cluster(folder))
        path = f"{cluster.state.kubectl.parent}{os.pathsep}{os.environ['PATH']}"
        variables = {CLUSTER_VARIABLE: "node", "KUBECONFIG": str(cluster.state.kubeconfig), "PATH": path}
        return variables, lambda: cluster.state.restarted
    cluster = stack.enter_context(ProcessCluster(folder))
    return {CLUSTER_VARIABLE: str(folder)}, lambda: cluster.state.restarted


def _run_tests(arguments: Sequence[str], environment: dict[str, str]) -> int:
    program = [sys.executable, "-m", "pytest", "--timeout=600", *arguments]
    # In a session of its own it gets one SIGINT, this program's; a second one would cut its cleaning up short.
    with subprocess.Popen(
        program,
        cwd=_ROOT,
        env={**os.environ, **environment},
        start_new_session=True,
        preexec_fn=heed_interrupts,  # noqa: PLW1509 - one call
    ) as process:
        watch_over(process.pid)
        try:
            return process.wait()
        except BaseException:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(_CLEANING_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
            raise


def _logs(folder: Path) -> list[Path]:
    """Return the logs of a run: the cluster's programs', and the Pods'."""
    return [path for pattern in ("*.log", "logs/*.log", "pods/**/*.log") for path in folder.glob(pattern)]


def _keep_logs(folder: Path) -> None:
    """Leave the logs of the last run where a person looks for them."""
    shutil.rmtree(_KEPT, ignore_errors=True)
    for path in _logs(folder):
        target = _KEPT / path.relative_to(folder)
        with suppress(FileNotFoundError):  # another run may be clearing the same folder
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)


if __name__ == "__main__":
    command.run(main)
