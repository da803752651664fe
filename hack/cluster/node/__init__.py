"""The process node: makes Pods real as processes of this machine, and Services as listening sockets.

It does what a scheduler, a kubelet and kube-proxy do in a cluster, as far as the project's Pods need it: binds pending
Pods to itself, starts their containers' commands, probes and restarts them, reports their status, and on deletion sends
SIGTERM, waits the grace period, kills, and removes the Pod. Each Pod has an address of its own out of 127.0.0.0/8, so
ten workers can all have port 8080.

There are no images and no file systems of their own: a command is looked up in this project's virtual environment and
on the PATH (`programs`), and a volume is a folder whose path is put in the place of its mount path (`volumes`). What
the node does not do it refuses with a message in the Pod's status (`unsupported`), it never leaves it out silently.

Pure: `environment`, `command`, `status`, `unsupported`. I/O: `probes`, `volumes`, `container`, `pod`, `services`,
`kubelet`; `node` puts them together, ``python -m hack.cluster.node`` runs it.
"""
