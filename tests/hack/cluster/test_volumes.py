"""Volumes as folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from hack.cluster.node.environment import MissingReference, Sources
from hack.cluster.node.volumes import mounts, write
from tests.hack.cluster.pods import container, pod

SOURCES = Sources(secrets={"tls": {"tls.crt": b"C", "tls.key": b"K"}}, config_maps={"settings": {"a.toml": b"A"}})


def test_every_supported_volume_becomes_files(tmp_path: Path) -> None:
    field = {"path": "labels/app", "fieldRef": {"fieldPath": "metadata.labels['app']"}}
    volumes = [
        {"name": "whole", "secret": {"secretName": "tls"}},
        {"name": "some", "secret": {"secretName": "tls", "items": [{"key": "tls.crt", "path": "sub/cert.pem"}]}},
        {"name": "settings", "configMap": {"name": "settings"}},
        {"name": "info", "downwardAPI": {"items": [field]}},
        {"name": "all", "projected": {"sources": [{"secret": {"name": "tls"}}, {"configMap": {"name": "settings"}}]}},
        {"name": "missing", "secret": {"secretName": "none", "optional": True}},
        {"name": "scratch", "emptyDir": {}},
    ]
    folders = write(pod(volumes=volumes), "127.64.0.1", SOURCES, tmp_path)
    found = {str(path.relative_to(tmp_path)): path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    assert found == {
        "whole/tls.crt": "C",
        "whole/tls.key": "K",
        "some/sub/cert.pem": "C",
        "settings/a.toml": "A",
        "info/labels/app": "writer",
        "all/tls.crt": "C",
        "all/tls.key": "K",
        "all/a.toml": "A",
    }
    assert folders["scratch"].is_dir()
    spec = container(volumeMounts=[{"name": "some", "mountPath": "/certs", "subPath": "sub"}])
    assert mounts(spec, folders) == {"/certs": tmp_path / "some" / "sub"}


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"secret": {"secretName": "none"}}, "secret 'none' not found"),
        ({"secret": {"secretName": "tls", "items": [{"key": "ca", "path": "ca"}]}}, "has no key 'ca'"),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, source: dict[str, object], message: str) -> None:
    with pytest.raises(MissingReference, match=message):
        write(pod(volumes=[{"name": "v", **source}]), "127.64.0.1", SOURCES, tmp_path)
