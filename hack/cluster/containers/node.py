"""The node's programs and their files: containerd, kubelet, kube-proxy, kube-scheduler and CoreDNS."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from hack.cluster.component import Component, Components
from hack.cluster.containers import images, packages, sandbox
from hack.cluster.containers.sandbox import DOMAIN, NODE_ADDRESS
from hack.cluster.control_plane import ControlPlane, answers
from hack.cluster.programs import COREDNS, KUBERNETES_NODE, Programs
from hack.local.process import StartFailed, free_port

NAME = "node"
SERVICES = "10.96.0.0/16"
_PODS = "10.244.0.0/16"
_MOST_PODS = 250
_SOCKET = Path("/run/containerd/containerd.sock")
_STATE = "/run/containerd"
_CALL_SECONDS = 120.0
_DNS_USER = "coredns"


class RealNode:
    """The one node of a cluster; in a sandbox only.

    Args:
        folder: gets configuration, certificates, containers and logs.
        programs: the built programs.
        control_plane: where it registers; must run.
        images: folder with the archives of images to import.
    """

    def __init__(self, folder: Path, programs: Programs, control_plane: ControlPlane, images: Path) -> None:
        self._folder = folder / "node"
        self._programs = programs
        self._control_plane = control_plane
        self._archives = images
        self._logs = folder / "pods"
        self._kubelets_logs = self._folder / "pods"

    def start(self, components: Components) -> None:
        """Start the programs, and wait until the node takes Pods.

        Raises:
            StartFailed: a program did not come up.
            KubectlFailed: the node did not become ready.
        """
        self._folder.mkdir(parents=True)
        components.start(self._containerd())
        for component in (self._kubelet(), self._kube_proxy(), self._scheduler(), self._coredns()):
            components.launch(component)
        self._import_images()  # no Pod waits for them yet
        for name in ("kubelet", "kube-proxy", "kube-scheduler", "coredns"):
            components.wait(name)
        kubectl = self._control_plane.kubectl
        kubectl.run("wait", "--for=condition=Ready", "--timeout=60s", f"node/{NAME}")

    def keep_logs(self) -> None:
        """Keep what Pods print: a kubelet removes their logs with them. To be called again and again."""
        with suppress(FileNotFoundError):  # a Pod has gone meanwhile; the others get their turn with the next call
            for log in self._kubelets_logs.glob("*/*/*.log"):
                kept = self._logs / log.relative_to(self._kubelets_logs)
                if not kept.exists():
                    kept.parent.mkdir(parents=True, exist_ok=True)
                    kept.hardlink_to(log)

    def _containerd(self) -> Component:
        networks = self._folder / "networks"
        networks.mkdir()
        bridge = {
            "type": "bridge",
            "bridge": "pods",
            "isGateway": True,
            "ipMasq": True,
            "hairpinMode": True,
            "ipam": {"type": "host-local", "ranges": [[{"subnet": _PODS}]], "routes": [{"dst": "0.0.0.0/0"}]},
        }
        network = {"cniVersion": "1.0.0", "name": "pods", "plugins": [bridge, {"type": "portmap"}]}
        (networks / "pods.conflist").write_text(json.dumps(network))
        config = self._folder / "containerd.toml"
        config.write_text(
            f"""version = 2
root = "{self._folder / "containerd"}"
state = "{_STATE}"
[grpc]
  address = "{_SOCKET}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{images.PAUSE}"
  # A sandbox may have no right to lower the score.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{packages.plugins()}"
    conf_dir = "{networks}"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
"""
        )
        return Component("containerd", ["containerd", f"--config={config}"], ready=_SOCKET.exists)

    def _import_images(self) -> None:
        ctr = ["ctr", f"--address={_SOCKET}", "--namespace=k8s.io", "images"]
        for archive in sorted(self._archives.glob("*.tar")):
            _call(*ctr, "import", str(archive))
        # containerd has put the usual registry before their names, as a kubelet does.
        names = _call(*ctr, "list", "--quiet").split()
        redis, project = (
            next(name for name in names if name.endswith(f"/{image}")) for image in (images.REDIS, images.PROJECT)
        )
        _call(*ctr, "tag", redis, images.PAUSE)
        _call(*ctr, "tag", project, project.removesuffix(images.PROJECT) + images.NEXT)

    def _kubelet(self) -> Component:
        authority = self._control_plane.authority
        pair = authority.issue(NAME, NODE_ADDRESS)
        resolver = self._folder / "resolv.conf"
        resolver.write_text(f"nameserver {NODE_ADDRESS}\n")
        config = self._config(
            "kubelet",
            "kubelet.config.k8s.io/v1beta1",
            "KubeletConfiguration",
            {
                "address": NODE_ADDRESS,
                "authentication": {
                    "anonymous": {"enabled": False},
                    "webhook": {"enabled": True},
                    "x509": {"clientCAFile": str(authority.certificate)},
                },
                "authorization": {"mode": "Webhook"},
                "tlsCertFile": str(pair.certificate),
                "tlsPrivateKeyFile": str(pair.key),
                "clusterDNS": [NODE_ADDRESS],
                "clusterDomain": DOMAIN,
                "resolvConf": str(resolver),
                "cgroupDriver": "cgroupfs",
                "cgroupRoot": f"/{sandbox.cgroup()}",
                "failCgroupV1": False,
                "failSwapOn": False,
                "containerRuntimeEndpoint": f"unix://{_SOCKET}",
                "podLogsDir": str(self._kubelets_logs),
                "maxPods": _MOST_PODS,
                # The machine's disk is not this node's to tidy up.
                "evictionHard": {"memory.available": "100Mi"},
                "imageGCHighThresholdPercent": 100,
            },
        )
        kubeconfig = self._control_plane.kubeconfig_for(f"system:node:{NAME}", group="system:nodes")
        return Component(
            "kubelet",
            [
                str(self._programs.path(KUBERNETES_NODE, "kubelet")),
                f"--config={config}",
                f"--kubeconfig={kubeconfig}",
                f"--hostname-override={NAME}",
                f"--node-ip={NODE_ADDRESS}",
                f"--root-dir={self._folder / 'kubelet'}",
            ],
            ready=lambda: answers("http://127.0.0.1:10248/healthz"),
        )

    def _kube_proxy(self) -> Component:
        kubeconfig = self._control_plane.kubeconfig_for("system:kube-proxy")
        config = self._config(
            "kube-proxy",
            "kubeproxy.config.k8s.io/v1alpha1",
            "KubeProxyConfiguration",
            {
                "clientConnection": {"kubeconfig": str(kubeconfig)},
                "clusterCIDR": _PODS,
                "hostnameOverride": NAME,
                "mode": "iptables",
                # The table of connections is the machine's.
                "conntrack": {"maxPerCore": 0, "min": 0},
            },
        )
        return Component(
            "kube-proxy",
            [str(self._programs.path(KUBERNETES_NODE, "kube-proxy")), f"--config={config}"],
            ready=lambda: answers("http://127.0.0.1:10256/healthz"),
        )

    def _scheduler(self) -> Component:
        port = free_port()
        kubeconfig = self._control_plane.kubeconfig_for("system:kube-scheduler")
        authority = self._control_plane.authority
        pair = authority.issue("kube-scheduler", "localhost", "127.0.0.1")
        return Component(
            "kube-scheduler",
            [
                str(self._programs.path(KUBERNETES_NODE, "kube-scheduler")),
                f"--kubeconfig={kubeconfig}",
                f"--authentication-kubeconfig={kubeconfig}",
                f"--authorization-kubeconfig={kubeconfig}",
                "--bind-address=127.0.0.1",
                f"--secure-port={port}",
                f"--tls-cert-file={pair.certificate}",
                f"--tls-private-key-file={pair.key}",
                "--leader-elect=false",
            ],
            ready=self._control_plane.https_probe(f"https://127.0.0.1:{port}/healthz"),
        )

    def _coredns(self) -> Component:
        kubeconfig = self._control_plane.kubeconfig_for(_DNS_USER)
        self._control_plane.kubectl.apply(_dns_rights())
        port = free_port()
        config = self._folder / "Corefile"
        config.write_text(
            f""".:53 {{
  bind {NODE_ADDRESS}
  errors
  ready 127.0.0.1:{port}
  kubernetes {DOMAIN} {{
    kubeconfig {kubeconfig}
    ttl 0
  }}
}}
"""
        )
        return Component(
            "coredns",
            [str(self._programs.path(COREDNS, "coredns")), f"-conf={config}"],
            ready=lambda: answers(f"http://127.0.0.1:{port}/ready"),
        )

    def _config(self, name: str, version: str, kind: str, content: Mapping[str, Any]) -> Path:
        path = self._folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump({"apiVersion": version, "kind": kind, **content}))
        return path


def pull(image: str, namespace: str) -> None:
    """Pull an image by plain HTTP and unpack it, into a namespace of containerd's that has none of it yet.

    Raises:
        StartFailed: it cannot be pulled.
    """
    ctr = ["ctr", f"--address={_SOCKET}", f"--namespace={namespace}", "images"]
    _call(*ctr, "pull", "--plain-http", image)
    _call(*ctr, "remove", "--sync", image)


def _dns_rights() -> list[dict[str, Any]]:
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": _DNS_USER},
        "rules": [
            {"apiGroups": [""], "resources": ["services", "pods", "namespaces"], "verbs": ["list", "watch"]},
            {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
        ],
    }
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": _DNS_USER},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": _DNS_USER},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": _DNS_USER}],
    }
    return [role, binding]


def _call(*command: str) -> str:
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=_CALL_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise StartFailed(f"{' '.join(command)} took longer than {_CALL_SECONDS:g} s") from error
    if ended.returncode != 0:
        raise StartFailed(f"{' '.join(command)}: {ended.stderr.strip()}")
    return ended.stdout
