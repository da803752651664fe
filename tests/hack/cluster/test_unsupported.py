"""What the process node does not do, it refuses by name."""

from __future__ import annotations

from typing import Any

import pytest

from hack.cluster.node.unsupported import Unsupported, check
from tests.hack.cluster.pods import container, pod


def test_a_pod_of_this_project_is_accepted() -> None:
    probe = {"httpGet": {"path": "/readyz", "port": 8080}}
    check(pod(container(readinessProbe=probe), volumes=[{"name": "c", "secret": {"secretName": "s"}}]))


@pytest.mark.parametrize(
    ("refused", "message"),
    [
        (pod(initContainers=[container()]), "spec.initContainers is not supported"),
        (pod(volumes=[{"name": "d", "persistentVolumeClaim": {"claimName": "x"}}]), "volume 'd' is none of configMap"),
        (pod(container(command=[])), "container 'main' has no command"),
        (pod(container(lifecycle={"preStop": {}})), "container 'main' has lifecycle hooks"),
        (pod(container(volumeMounts=[{"subPathExpr": "$(X)"}])), "container 'main' has a subPathExpr"),
        (
            pod(volumes=[{"name": "t", "projected": {"sources": [{"serviceAccountToken": {}}]}}]),
            "'t' has a serviceAccountT",
        ),
        (
            pod(volumes=[{"name": "r", "downwardAPI": {"items": [{"resourceFieldRef": {}}]}}]),
            "'r' has a resourceFieldRef",
        ),
        (pod(container(livenessProbe={"grpc": {"port": 1}})), "container 'main': livenessProbe is none of exec"),
    ],
)
def test_anything_else_is_refused_with_the_field(refused: dict[str, Any], message: str) -> None:
    with pytest.raises(Unsupported, match=message):
        check(refused)
