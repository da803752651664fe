"""etcd, kube-apiserver and kube-controller-manager, on free ports of this machine."""

from __future__ import annotations

import ipaddress
import ssl
import urllib.request
from collections.abc import Callable
from pathlib import Path

from hack.cluster.certificates import ADMINISTRATORS, Authority, KeyPair, kubeconfig
from hack.cluster.component import Component, Components
from hack.cluster.kubectl import Kubectl
from hack.cluster.programs import ETCD, KUBERNETES, Programs
from hack.local.process import free_port

_PROCESS_NODE = (
    "deployment-controller",
    "garbage-collector-controller",
    "horizontal-pod-autoscaler-controller",
    "job-controller",
    "namespace-controller",
    "replicaset-controller",
    "root-ca-certificate-publisher-controller",
    "serviceaccount-controller",
)
"""What a process node needs; it does the rest itself."""
_KUBELETS = ("*", "-cloud-node-lifecycle-controller", "-node-ipam-controller", "-node-route-controller")
"""All but what needs a cloud."""
_LOOPBACK = ("localhost", "127.0.0.1")
_PROBE_SECONDS = 2.0


class ControlPlane:
    """The control plane's processes, files and credentials.

    Args:
        folder: gets keys, logs and etcd's data.
        programs: the built programs.
        services: range of the Services' addresses; loopback, where a process node is to listen on them.
        hpa_sync_seconds: time between two decisions of the autoscaler; real clusters have 15 s.
        address: what its nodes and their Pods reach the API server by.
        kubelets: whether its nodes are real ones, with rights of their own, and Pods get their accounts' tokens.
    """

    def __init__(
        self,
        folder: Path,
        programs: Programs,
        *,
        services: str,
        hpa_sync_seconds: float = 15.0,
        address: str = "127.0.0.1",
        kubelets: bool = False,
    ) -> None:
        self.folder = folder
        self._programs = programs
        self._services = services
        self._address = address
        self._kubelets = kubelets
        self._hpa_sync_seconds = hpa_sync_seconds
        self.authority = Authority(folder / "pki")
        self.front_proxy = Authority(folder / "pki-front-proxy")
        self._etcd_port = free_port()
        self.port = free_port()
        own_service = str(ipaddress.ip_network(services)[1])
        names = dict.fromkeys([*_LOOPBACK, address, own_service, "kubernetes.default.svc"])
        self._server_pair = self.authority.issue("kube-apiserver", *names)
        self._account_pair = self.authority.issue("service-accounts")
        self.kubelet_client = self.authority.issue("kube-apiserver-kubelet-client", group=ADMINISTRATORS)
        self.admin = self.kubeconfig_for("admin", group=ADMINISTRATORS)

    @property
    def url(self) -> str:
        """The API server's address."""
        return f"https://{self._address}:{self.port}"

    @property
    def kubectl(self) -> Kubectl:
        """Return what runs kubectl with all rights."""
        return Kubectl(self._programs.kubectl, self.admin)

    def kubeconfig_for(self, user: str, group: str | None = None, port: int | None = None) -> Path:
        """Write a kubeconfig with a certificate for a user, and return its path.

        Args:
            user: the user's name.
            group: the user's group.
            port: of loopback, where a proxy leads to the API server; the server's own where None.
        """
        pair = self.authority.issue(user, group=group)
        path = self.folder / f"{user.replace(':', '-')}.kubeconfig"
        url = self.url if port is None else f"https://127.0.0.1:{port}"
        path.write_text(kubeconfig(url, self.authority.certificate, pair=pair))
        path.chmod(0o600)
        return path

    def start(self, components: Components) -> None:
        """Start the three programs, each when the one before it is ready.

        Raises:
            StartFailed: one did not come up.
        """
        self.start_api_server(components)
        components.start(self._controller_manager())

    def start_api_server(self, components: Components) -> None:
        """Start etcd and the API server alone: objects are kept, and nothing is done about them.

        Raises:
            StartFailed: one did not come up.
        """
        components.start(self._etcd())
        components.start(self._api_server())

    def _etcd(self) -> Component:
        client, peer = f"https://127.0.0.1:{self._etcd_port}", f"https://127.0.0.1:{free_port()}"
        health = f"http://127.0.0.1:{free_port()}"
        pair = self.authority.issue("etcd", *_LOOPBACK)
        return Component(
            "etcd",
            [
                str(self._programs.path(ETCD, "etcd")),
                f"--data-dir={self.folder / 'etcd'}",
                f"--listen-client-urls={client}",
                f"--advertise-client-urls={client}",
                f"--listen-peer-urls={peer}",
                f"--initial-advertise-peer-urls={peer}",
                f"--initial-cluster=default={peer}",
                f"--listen-metrics-urls={health}",
                # Whoever may write here runs commands as this user, through a Pod.
                *_pair_flags("cert-file", "key-file", pair),
                *_pair_flags("peer-cert-file", "peer-key-file", pair),
                f"--trusted-ca-file={self.authority.certificate}",
                f"--peer-trusted-ca-file={self.authority.certificate}",
                "--client-cert-auth",
                "--peer-client-cert-auth",
                "--unsafe-no-fsync",
                "--log-level=warn",
            ],
            ready=lambda: answers(f"{health}/health"),
        )

    def _api_server(self) -> Component:
        proxy_client = self.front_proxy.issue("front-proxy-client")
        return Component(
            "kube-apiserver",
            [
                str(self._programs.path(KUBERNETES, "kube-apiserver")),
                f"--etcd-servers=https://127.0.0.1:{self._etcd_port}",
                f"--etcd-cafile={self.authority.certificate}",
                *_pair_flags("etcd-certfile", "etcd-keyfile", self.kubelet_client),
                f"--bind-address={self._address}",
                f"--secure-port={self.port}",
                f"--service-cluster-ip-range={self._services}",
                f"--cert-dir={self.folder / 'apiserver-certs'}",
                *_pair_flags("tls-cert-file", "tls-private-key-file", self._server_pair),
                f"--client-ca-file={self.authority.certificate}",
                *(
                    ("--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction")
                    if self._kubelets
                    else ("--authorization-mode=RBAC", "--disable-admission-plugins=ServiceAccount")
                ),
                "--service-account-issuer=https://kubernetes.default.svc",
                f"--service-account-key-file={self._account_pair.key}",
                f"--service-account-signing-key-file={self._account_pair.key}",
                f"--requestheader-client-ca-file={self.front_proxy.certificate}",
                "--requestheader-allowed-names=front-proxy-client",
                "--requestheader-username-headers=X-Remote-User",
                "--requestheader-group-headers=X-Remote-Group",
                "--requestheader-extra-headers-prefix=X-Remote-Extra-",
                *_pair_flags("proxy-client-cert-file", "proxy-client-key-file", proxy_client),
                *_pair_flags("kubelet-client-certificate", "kubelet-client-key", self.kubelet_client),
                f"--kubelet-certificate-authority={self.authority.certificate}",
                "--kubelet-preferred-address-types=InternalIP",
            ],
            ready=self.https_probe(f"{self.url}/readyz"),
        )

    def _controller_manager(self) -> Component:
        port = free_port()
        config = self.kubeconfig_for("system:kube-controller-manager")
        return Component(
            "kube-controller-manager",
            [
                str(self._programs.path(KUBERNETES, "kube-controller-manager")),
                f"--kubeconfig={config}",
                f"--authentication-kubeconfig={config}",
                f"--authorization-kubeconfig={config}",
                "--bind-address=127.0.0.1",
                f"--secure-port={port}",
                *_pair_flags("tls-cert-file", "tls-private-key-file", self._server_pair),
                f"--client-ca-file={self.authority.certificate}",
                f"--requestheader-client-ca-file={self.front_proxy.certificate}",
                "--use-service-account-credentials=true",
                f"--service-account-private-key-file={self._account_pair.key}",
                f"--root-ca-file={self.authority.certificate}",
                "--leader-elect=false",
                f"--controllers={','.join(_KUBELETS if self._kubelets else _PROCESS_NODE)}",
                f"--horizontal-pod-autoscaler-sync-period={self._hpa_sync_seconds:g}s",
            ],
            ready=self.https_probe(f"https://127.0.0.1:{port}/healthz"),
        )

    def https_probe(self, url: str) -> Callable[[], bool]:
        """Return what asks a program of the cluster whether it is ready."""
        context = ssl.create_default_context(cafile=str(self.authority.certificate))
        context.load_cert_chain(self.kubelet_client.certificate, self.kubelet_client.key)
        return lambda: answers(url, context)


def _pair_flags(certificate: str, key: str, pair: KeyPair) -> list[str]:
    return [f"--{certificate}={pair.certificate}", f"--{key}={pair.key}"]


def answers(url: str, context: ssl.SSLContext | None = None) -> bool:
    """Return whether an HTTP GET is answered with 200."""
    try:
        with urllib.request.urlopen(url, timeout=_PROBE_SECONDS, context=context) as response:  # noqa: S310 - our own
            return bool(response.status == 200)
    except OSError:
        return False
