"""KEDA on a control plane: its CRDs and RBAC as its own manifests have them, and its three programs.

The programs run with certificates for the user that KEDA's manifests give their rights to, so a right that is missing
there is missing here.
"""

from __future__ import annotations

import base64
import shutil
from pathlib import Path
from typing import Any

import yaml

from hack.cluster.component import Component, Components
from hack.cluster.control_plane import ControlPlane, answers
from hack.cluster.programs import KEDA, Programs
from hack.local.process import free_port

NAMESPACE = "keda"
_USER = f"system:serviceaccount:{NAMESPACE}:keda-operator"
_RBAC = ("rbac/role.yaml", "rbac/role_binding.yaml", "metrics-server/role.yaml", "metrics-server/role_binding.yaml")
_ADAPTER_HOST = "keda-metrics-apiserver.keda.svc"


class Keda:
    """KEDA's operator, metrics adapter and admission webhooks.

    Args:
        folder: gets certificates and logs.
        programs: the built programs.
        control_plane: where it is installed; must run.
    """

    def __init__(self, folder: Path, programs: Programs, control_plane: ControlPlane) -> None:
        self._folder = folder
        self._programs = programs
        self._control_plane = control_plane
        self._config = programs.files(KEDA) / "config"
        self._metrics_service_port = free_port()
        self._adapter_port = free_port()
        self._webhook_port = free_port()
        self._certificates = self._make_certificates()
        self._kubeconfig = control_plane.kubeconfig_for(_USER)

    def start(self, components: Components) -> None:
        """Install the manifests and start the programs.

        Raises:
            StartFailed: a program did not come up.
            KubectlFailed: a manifest was refused.
        """
        kubectl = self._control_plane.kubectl
        kubectl.run("apply", "--server-side", "-f", str(self._config / "crd" / "bases"))
        kubectl.apply([self._namespace(), *self._rbac(), *self._metrics_api(), self._webhooks()])
        kubectl.run("wait", "--for=condition=Established", "--timeout=60s", "crd", "--all")
        for component in (self._operator(), self._adapter(), self._webhook_server()):
            components.launch(component)
        for name in ("keda-operator", "keda-adapter", "keda-webhooks"):
            components.wait(name)
        kubectl.run(
            "wait", "--for=condition=Available", "--timeout=60s", "apiservice", "v1beta1.external.metrics.k8s.io"
        )

    def _make_certificates(self) -> Path:
        """Make the one folder that serves all three programs, in the names that they expect."""
        folder = self._folder / "keda-certs"
        folder.mkdir(parents=True)
        authority = self._control_plane.authority
        pair = authority.issue("keda", "localhost", "127.0.0.1", _ADAPTER_HOST)
        for source, name in ((authority.certificate, "ca.crt"), (pair.certificate, "tls.crt"), (pair.key, "tls.key")):
            shutil.copyfile(source, folder / name)
        (folder / "tls.key").chmod(0o600)
        return folder

    def _namespace(self) -> dict[str, Any]:
        return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}

    def _rbac(self) -> list[dict[str, Any]]:
        return [item for name in _RBAC for item in yaml.safe_load_all((self._config / name).read_text()) if item]

    def _metrics_api(self) -> list[dict[str, Any]]:
        """Return what leads the API server to the adapter: no Pods, but a name and a port of this machine."""
        service = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "keda-metrics-apiserver", "namespace": NAMESPACE},
            "spec": {"type": "ExternalName", "externalName": "localhost"},
        }
        api = yaml.safe_load((self._config / "metrics-server" / "api_service.yaml").read_text())
        api["spec"]["service"]["port"] = self._adapter_port
        api["spec"]["caBundle"] = self._ca_bundle()
        return [service, api]

    def _webhooks(self) -> dict[str, Any]:
        configuration: dict[str, Any] = yaml.safe_load(
            (self._config / "webhooks" / "validation_webhooks.yaml").read_text()
        )
        for webhook in configuration["webhooks"]:
            path = webhook["clientConfig"].pop("service")["path"]
            url = f"https://127.0.0.1:{self._webhook_port}{path}"
            webhook["clientConfig"] |= {"url": url, "caBundle": self._ca_bundle()}
        return configuration

    def _ca_bundle(self) -> str:
        return base64.b64encode(self._control_plane.authority.certificate.read_bytes()).decode()

    def _environment(self) -> dict[str, str]:
        return {
            "KUBECONFIG": str(self._kubeconfig),
            "WATCH_NAMESPACE": "",
            "POD_NAMESPACE": NAMESPACE,
            "KEDA_CLUSTER_OBJECT_NAMESPACE": NAMESPACE,
        }

    def _operator(self) -> Component:
        health = free_port()
        return Component(
            "keda-operator",
            [
                str(self._programs.path(KEDA, "keda-operator")),
                "--zap-log-level=debug",
                "--zap-encoder=json",
                "--leader-elect",
                f"--cert-dir={self._certificates}",
                "--enable-cert-rotation=false",
                f"--metrics-bind-address=127.0.0.1:{free_port()}",
                f"--health-probe-bind-address=127.0.0.1:{health}",
                f"--metrics-service-bind-address=127.0.0.1:{self._metrics_service_port}",
            ],
            ready=lambda: answers(f"http://127.0.0.1:{health}/readyz"),
            environment=self._environment(),
        )

    def _adapter(self) -> Component:
        metrics = free_port()
        certificates = self._certificates
        return Component(
            "keda-adapter",
            [
                str(self._programs.path(KEDA, "keda-adapter")),
                f"--lister-kubeconfig={self._kubeconfig}",
                f"--authentication-kubeconfig={self._kubeconfig}",
                f"--authorization-kubeconfig={self._kubeconfig}",
                "--bind-address=127.0.0.1",
                f"--secure-port={self._adapter_port}",
                f"--cert-dir={certificates}",
                f"--tls-cert-file={certificates / 'tls.crt'}",
                f"--tls-private-key-file={certificates / 'tls.key'}",
                f"--client-ca-file={certificates / 'ca.crt'}",
                f"--metrics-service-address=localhost:{self._metrics_service_port}",
                f"--port={metrics}",
            ],
            ready=lambda: answers(f"http://127.0.0.1:{metrics}/metrics"),
            environment=self._environment(),
        )

    def _webhook_server(self) -> Component:
        health = free_port()
        return Component(
            "keda-webhooks",
            [
                str(self._programs.path(KEDA, "keda-webhooks")),
                "--zap-log-level=info",
                f"--cert-dir={self._certificates}",
                f"--port={self._webhook_port}",
                f"--metrics-bind-address=127.0.0.1:{free_port()}",
                f"--health-probe-bind-address=127.0.0.1:{health}",
            ],
            ready=lambda: answers(f"http://127.0.0.1:{health}/readyz"),
            environment=self._environment(),
        )
