"""The real node: a kubelet with containers, kube-proxy, a scheduler and CoreDNS, beside the process cluster's programs.

It needs root on Linux. Everything runs in namespaces of its own (`sandbox`), so the machine's network, mounts and
processes stay as they are, and nothing outlives it. Images are built here (`images`): a registry need not be in reach.
Programs come from pinned Go modules (`hack.cluster.programs`), containerd and the tools that build images from the
distribution (`packages`). `node` puts them together.
"""
