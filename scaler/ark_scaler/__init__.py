"""The KEDA external scaler: tells KEDA, over gRPC, how many tasks an agent's queue holds, and wakes pools by push.

Knows Redis and gRPC, and nothing of Kubernetes: who asks is known by what KEDA sends. It keeps no state that
matters, so any number of replicas give the same answers.

A request's way: `servicer` (wire) -> `trigger` and `tenancy` (what is asked, and may it be) -> `observer` (what is
known of the queue: watched, read or held) -> `metric` (the number that KEDA gets).
"""
