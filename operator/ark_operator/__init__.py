"""The operator: turns ArkAgents into Deployments and ScaledObjects. Knows Kubernetes and Redis.

So far it consists of its controller runtime (`ark_operator.runtime`) and the resource's definition
(``crd/arkagents.yaml``).
"""
