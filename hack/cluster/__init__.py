"""A real Kubernetes and a real KEDA as plain processes of one machine, for end-to-end tests, demo and benchmarks.

`programs` builds them once. `certificates` and `control_plane` run etcd, the API server and the controller manager,
`keda` runs KEDA's operator, adapter and webhooks, each with the rights of its own manifests. What a kubelet,
kube-proxy and scheduler do elsewhere is done by the **process node** (`hack.cluster.node`): a Pod's containers are
local processes, with an address of their own out of 127.0.0.0/8. `process_cluster` puts these together; `kubectl` and
`api` talk to a cluster, this one or any other; `manifests` has what is deployed on it.

Everything listens on loopback, on free ports, with its files under one temporary folder. One process, the supervisor
(``python -m hack.cluster.supervisor``), owns all others and ends them when it is told to, or when whoever started it is
gone.
"""
