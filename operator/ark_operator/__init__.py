"""The operator: turns ArkAgents into Deployments and ScaledObjects. Knows Kubernetes and Redis.

`decide` says what is to be done and knows no I/O; `reconciler` does it; `main` wires the process. `runtime` is the
controller runtime, ``crd/`` and ``rbac.yaml`` are the resource's definition and the operator's rights.
"""
