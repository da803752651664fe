"""The operator: turns ArkAgents into Deployments and ScaledObjects. Knows Kubernetes and Redis.

`decide` says what is to be done and knows no I/O; `reconciler` does it; `main` wires the process. `runtime` is the
controller runtime, ``rbac.yaml`` has the operator's rights. The resource's definition is the chart's.
"""
