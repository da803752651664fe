"""``make chaos``: a load on the whole stack, and one thing after the other that is broken and mended.

The stack is real: Kubernetes' control plane and KEDA (the process cluster), Redis with an append-only file, two
scalers, two operators, and workers as Pods. Between each pair of them lies a `hack.local.proxy`, so that the network
can be cut and slowed there alone. Bookkeeping has a Redis of its own, which nobody breaks.

For each fault: tasks lost, attempts beyond the first, tokens over a cap, wrong scale to zero, and how long after its
end everything works again: the backlog is worked off, a pool at zero is woken by its first task, a pin is honoured.
"""
