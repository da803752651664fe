"""``make cluster``: a process cluster to play with, until Ctrl-C."""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from pathlib import Path

from hack.cluster import manifests, operator_manifests, programs
from hack.cluster.access import Access, local
from hack.cluster.kubectl import KubectlFailed
from hack.cluster.manifests import REDIS, REDIS_PORT, SCALER, SCALER_PORT
from hack.cluster.process_cluster import CannotStart, ProcessCluster
from hack.local import command

_NAMESPACE = "ark"
DEMO, _AGENT = "demo", "writer"


def main() -> int:
    """Run the cluster."""
    argparse.ArgumentParser(prog="make cluster", description=__doc__).parse_args()
    began = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="ark-cluster-", ignore_cleanup_errors=True) as folder:
            print(f"starting Kubernetes {programs.KUBERNETES.version} and KEDA {programs.KEDA.version} ...", flush=True)
            with ProcessCluster(Path(folder)) as cluster:
                access = local(cluster.state)
                redis = deploy(access)
                print(_welcome(access, redis, time.monotonic() - began), flush=True)
                threading.Event().wait()
    except KeyboardInterrupt:
        print("\ncluster: stopped", file=sys.stderr)  # its usual end, no failure
    except (CannotStart, KubectlFailed, programs.CannotBuild) as error:
        print(f"cluster: {error}", file=sys.stderr)
        return 1
    return 0


def deploy(access: Access) -> str:
    """Install Redis, scaler and operator, and an agent that waits at zero; return the URL of Redis."""
    apply = access.kubectl.apply
    apply([manifests.namespace(_NAMESPACE), manifests.namespace(DEMO), *manifests.redis(_NAMESPACE)])
    redis = f"redis://{access.address(_NAMESPACE, REDIS, REDIS_PORT)}/0"
    apply(manifests.scaler(_NAMESPACE, redis))
    scaler = access.address(_NAMESPACE, SCALER, SCALER_PORT)
    apply([operator_manifests.crd(), *operator_manifests.rbac(_NAMESPACE)])
    apply([operator_manifests.deployment(_NAMESPACE, redis, scaler)])
    for name in (REDIS, SCALER, operator_manifests.ACCOUNT):
        access.wait_ready(_NAMESPACE, name)
    down = {"scaleDown": {"stabilizationWindowSeconds": 30}}
    scaling = {"maxReplicas": 20, "cooldownSeconds": 30, "behavior": down}
    spec = {"model": "echo", "systemPrompt": "You repeat what you hear.", "autoscaling": scaling}
    apply([operator_manifests.agent(DEMO, _AGENT, **spec)])
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
  kubectl get arkagents -n {DEMO} -w &
  .venv/bin/python -m hack.cluster.submit {redis} {DEMO}/{_AGENT} --tasks 37 --seconds 30
  kubectl describe arkagent {_AGENT} -n {DEMO}
  kubectl scale arkagent {_AGENT} -n {DEMO} --replicas=2
  kubectl patch arkagent {_AGENT} -n {DEMO} --type=merge -p '{{"spec":{{"replicas":null}}}}'
  kubectl patch arkagent {_AGENT} -n {DEMO} --type=merge \\
    -p '{{"spec":{{"limits":{{"maxDailyTokens":20000,"maxTokensPerCall":1000}}}}}}'
  .venv/bin/python -m hack.cluster.submit {redis} {DEMO}/{_AGENT} --tasks 30 --seconds 1 --tokens 1000
  kubectl describe arkagent {_AGENT} -n {DEMO}
  kubectl patch arkagent {_AGENT} -n {DEMO} --type=merge -p '{{"spec":{{"limits":{{"maxDailyTokens":null}}}}}}'
  kubectl logs -n {_NAMESPACE} deployment/{operator_manifests.ACCOUNT}

The agent {DEMO}/{_AGENT} goes from 0 to 8 replicas at once, and back; with 20,000 tokens a day it stops after
20 tasks of 1,000, and goes on when the limit is gone. scalerAddress for ScaledObjects of your own:
{scaler}. Pods are processes, images are ignored. Ctrl-C ends it all."""


if __name__ == "__main__":
    command.run(main)
