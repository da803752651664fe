"""How large a pool should be, and what another size would have cost: pure, no I/O.

- `ark_sizing.setting`: what a sizing is made of (base, reserve, patience), and what it asks for at a moment.
- `ark_sizing.simulation`: a pool under a list of tasks, Pod by Pod, scaled as a setting says.
- `ark_sizing.hpa`: the arithmetic of Kubernetes' horizontal pod autoscaler.
- `ark_sizing.record`: tasks like those that the record of a queue's demand has seen (contract C8).
- `ark_sizing.choice`: the setting that would have been best for a record.
- `ark_sizing.bound`: what nobody can do better than.
"""
