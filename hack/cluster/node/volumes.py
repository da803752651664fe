"""Volumes as folders: Secrets, ConfigMaps, the downward API and empty ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hack.cluster.node.environment import MissingReference, Sources, field_of

Object = dict[str, Any]


def write(pod: Object, ip: str, sources: Sources, folder: Path) -> dict[str, Path]:
    """Write a Pod's volumes below a folder and return their folders by name.

    Raises:
        MissingReference: a Secret, a ConfigMap or a key of one is not there.
    """
    folders = {}
    for volume in pod["spec"].get("volumes", []):
        target = folder / volume["name"]
        target.mkdir(parents=True, exist_ok=True)
        parts = volume["projected"]["sources"] if "projected" in volume else [volume]
        for part in parts:
            for name, content in _files(part, pod, ip, sources).items():
                _put(target / name, content)
        folders[volume["name"]] = target
    return folders


def mounts(container: Object, folders: dict[str, Path]) -> dict[str, Path]:
    """Return a container's folders by the path that they are mounted at."""
    return {
        mount["mountPath"]: folders[mount["name"]] / mount.get("subPath", "")
        for mount in container.get("volumeMounts", [])
    }


def _files(part: Object, pod: Object, ip: str, sources: Sources) -> dict[str, bytes]:
    if "downwardAPI" in part:
        return {
            item["path"]: field_of(pod, item["fieldRef"]["fieldPath"], ip).encode()
            for item in part["downwardAPI"].get("items", [])
        }
    for key in ("secret", "configMap"):
        if key in part:
            data = sources.find(key, part[key]) or {}
            return _chosen(data, part[key].get("items"), key)
    return {}


def _chosen(data: Any, items: list[Object] | None, kind: str) -> dict[str, bytes]:
    if items is None:
        return dict(data)
    for item in items:
        if item["key"] not in data:
            raise MissingReference(f"{kind} of a volume has no key {item['key']!r}")
    return {item["path"]: data[item["key"]] for item in items}


def _put(path: Path, content: bytes) -> None:
    """Replace a file as a whole: a reader sees the old or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    new.write_bytes(content)
    new.rename(path)
