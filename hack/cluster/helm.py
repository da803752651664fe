"""Helm against one cluster, and the chart's values for the process cluster."""

from __future__ import annotations

import ipaddress
import random
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from hack.cluster import programs
from hack.cluster.kubectl import Kubectl

CHART = Path(__file__).resolve().parents[2] / "charts" / "ark"
_SECONDS = 300.0


class HelmFailed(Exception):
    """A helm call failed; the message is helm's own."""


@dataclass(frozen=True, slots=True)
class Helm:
    """Runs helm."""

    program: Path
    kubeconfig: Path | None = None
    """None where no cluster is needed."""

    def run(self, *arguments: str, values: Mapping[str, Any] | None = None) -> str:
        """Run one command and return what it printed.

        Args:
            arguments: the command line after the program's name.
            values: given as ``--values``.

        Raises:
            HelmFailed: it ended with an error.
        """
        command = [str(self.program), *arguments]
        if self.kubeconfig is not None:
            command.append(f"--kubeconfig={self.kubeconfig}")
        if values is not None:
            command.append("--values=-")
        ended = subprocess.run(
            command,
            input=yaml.safe_dump(dict(values)) if values is not None else None,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
        if ended.returncode != 0:
            raise HelmFailed(f"helm {' '.join(arguments)}: {ended.stderr.strip()}")
        return ended.stdout

    def rendered(self, *arguments: str, values: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """Return the objects that ``helm template`` makes of the chart."""
        text = self.run("template", "ark", str(CHART), "--set", "tls.newOnEachRender=true", *arguments, values=values)
        return [item for item in yaml.safe_load_all(text) if item]


def helm(kubeconfig: Path | None = None) -> Helm:
    """Return the pinned helm.

    Raises:
        CannotBuild: it cannot be built.
    """
    return Helm(programs.ensure((programs.HELM,)).path(programs.HELM, "helm"), kubeconfig)


def process_cluster_values(kubectl: Kubectl) -> dict[str, Any]:
    """Return what the chart must be told on a process cluster, which has no DNS: fixed addresses, used as names."""
    first = kubectl.run("get", "service", "kubernetes", "-n", "default", "-o", "jsonpath={.spec.clusterIP}")
    network = ipaddress.ip_network(f"{first}/16", strict=False)
    scaler, redis = (str(network[number]) for number in random.sample(range(0x8000, 0xFF00), 2))
    return {
        "scaler": {"service": {"clusterIP": scaler}},
        "redis": {"bundled": {"service": {"clusterIP": redis}}},
    }
