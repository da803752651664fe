"""``make cluster``: a process cluster to play with, until Ctrl-C."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path

from hack.cluster import manifests, programs
from hack.cluster.access import Access, local
from hack.cluster.kubectl import KubectlFailed
from hack.cluster.manifests import REDIS, REDIS_PORT, SCALER, SCALER_PORT, Scaling
from hack.cluster.process_cluster import CannotStart, ProcessCluster

_NAMESPACE = "ark"
_DEMO, _AGENT = "demo", "writer"


def main() -> int:
    """Run the cluster."""
    argparse.ArgumentParser(prog="make cluster", description=__doc__).parse_args()
    signal.signal(signal.SIGTERM, _as_interrupt)
    began = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="ark-cluster-", ignore_cleanup_errors=True) as folder:
            print(f"starting Kubernetes {programs.KUBERNETES.version} and KEDA {programs.KEDA.version} ...", flush=True)
            with ProcessCluster(Path(folder)) as cluster:
                access = local(cluster.state)
                redis = _deploy(access)
                print(_welcome(access, redis, time.monotonic() - began), flush=True)
                threading.Event().wait()
    except KeyboardInterrupt:
        print("\ncluster: stopped", file=sys.stderr)  # its usual end, no failure
    except (CannotStart, KubectlFailed, programs.CannotBuild) as error:
        print(f"cluster: {error}", file=sys.stderr)
        return 1
    return 0


def _as_interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _deploy(access: Access) -> str:
    """Install Redis, the scaler, and an agent that waits at zero; answer the URL of Redis."""
    apply = access.kubectl.apply
    apply([manifests.namespace(_NAMESPACE), manifests.namespace(_DEMO), *manifests.redis(_NAMESPACE)])
    redis = f"redis://{access.address(_NAMESPACE, REDIS, REDIS_PORT)}/0"
    apply(manifests.scaler(_NAMESPACE, redis))
    for name in (REDIS, SCALER):
        access.wait_ready(_NAMESPACE, name)
    scaler = access.address(_NAMESPACE, SCALER, SCALER_PORT)
    trigger = manifests.ark_trigger(scaler, queue=f"{_DEMO}/{_AGENT}", tasksPerReplica="5")
    scaling = Scaling(cooldown_seconds=30, scale_down_seconds=30)
    apply([manifests.workers(_DEMO, _AGENT, redis), manifests.scaled_object(_DEMO, _AGENT, [trigger], scaling)])
    return redis


def _welcome(access: Access, redis: str, seconds: float) -> str:
    state = access.local
    assert state is not None
    scaler = access.address(_NAMESPACE, SCALER, SCALER_PORT)
    return f"""ready in {seconds:.0f} s; logs: {state.logs}

In another terminal, in this folder:

  export KUBECONFIG={state.kubeconfig}
  alias kubectl={state.kubectl}
  kubectl get pods -A
  kubectl get deployment -n {_DEMO} -w &
  .venv/bin/python -m hack.cluster.submit {redis} {_DEMO}/{_AGENT} --tasks 37 --seconds 30
  kubectl logs -n {_NAMESPACE} deployment/{SCALER}

The agent {_DEMO}/{_AGENT} goes from 0 to 8 replicas and back. scalerAddress for ScaledObjects of
your own: {scaler}. Pods are processes, images are ignored. Ctrl-C ends it all."""


if __name__ == "__main__":
    sys.exit(main())
