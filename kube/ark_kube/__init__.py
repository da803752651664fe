"""A controller runtime for asyncio, in controller-runtime's words. Knows Kubernetes, and nothing of ArkAgents or Redis.

- A **client** (`client`) makes the calls: plain dicts, a timeout on each, a **rate limit** (`rate_limit`) over all.
- A **reflector** (`reflector`) keeps a cache of one resource by list and watch, and tells of each change.
- A **workqueue** (`workqueue`) holds the keys of objects that are to be reconciled: each once, never two at once, later
  or with a backoff where asked.
- A **controller** (`controller`) has workers that take keys and reconcile them, side by side.
- **Events** (`events`) are what ``kubectl describe`` tells of an object.
- **Leader election** (`election`) lets one of several replicas act, by a Lease.

Why not an existing one: see ``docs/adr/0006``.
"""
