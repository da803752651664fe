"""The contract between Ark's programs and their users, as types: what an ArkAgent says, and what is derived from it.

Knows nothing but Python: no Kubernetes, no Redis, no event loop. Operator, CLI, scaler and worker import it, so that a
name or a default stands in one place (``charts/ark/files/arkagents.yaml`` is compared with it by a test).

- `ark_api.names`: the resource, its annotations, the defaults of names.
- `ark_api.agent`: the fields of an ArkAgent, and whose number ``spec.replicas`` is (contract C4).
- `ark_api.status`: modes, condition types and reasons.
- `ark_api.trigger`: the metadata of a ScaledObject's trigger.
- `ark_api.variables`: the worker's environment variables.
- `ark_api.tenancy`: which namespace may read which queue.
"""
