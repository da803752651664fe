"""Merge a pod template into another, by the rules of Kubernetes' strategic merge patch.

Maps are merged. Lists whose items have a name of their own are merged item by item, any other list is replaced. null
removes a field; ``$patch: delete`` removes an item, ``$patch: replace`` takes a map or an item as it stands. The merge
keys are those of the API's schema (``x-kubernetes-patch-merge-key``). One rule is not Kubernetes': a variable of the
environment is replaced as a whole, since a value and a reference in one would be refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ark_operator.runtime.client import Object

MERGE_KEYS: Mapping[str, str] = {
    "containers": "name",
    "initContainers": "name",
    "ephemeralContainers": "name",
    "env": "name",
    "volumes": "name",
    "imagePullSecrets": "name",
    "volumeMounts": "mountPath",
    "volumeDevices": "devicePath",
    "ports": "containerPort",
    "hostAliases": "ip",
    "topologySpreadConstraints": "topologyKey",
}
"""The field of an item that names it, by the list's own name."""
_WHOLE = frozenset({"env"})
_DIRECTIVE = "$patch"


class InvalidTemplate(Exception):
    """A template cannot be merged; the message names the field."""


def merge(base: Mapping[str, Any], patch: Any, path: str) -> Object:
    """Answer the base with the patch merged in; neither is changed.

    Args:
        base: a map.
        patch: what is put over it.
        path: where the patch stands, for messages.

    Raises:
        InvalidTemplate: a field of the patch is of another kind than the base's.
    """
    if not isinstance(patch, Mapping):
        raise InvalidTemplate(f"{path} must be a map of fields, and is {_kind(patch)}")
    if patch.get(_DIRECTIVE) == "replace":
        return {name: value for name, value in patch.items() if name != _DIRECTIVE}
    merged = dict(base)
    for name, value in patch.items():
        field = f"{path}.{name}"
        if value is None:
            merged.pop(name, None)
        elif name in MERGE_KEYS:
            merged[name] = _merge_list(merged.get(name) or [], value, name, field)
        elif isinstance(merged.get(name), Mapping):
            merged[name] = merge(merged[name], value, field)
        elif isinstance(merged.get(name), list) and not isinstance(value, list):
            raise InvalidTemplate(f"{field} must be a list, and is {_kind(value)}")
        else:
            merged[name] = value
    return merged


def _merge_list(base: Sequence[Object], patch: Any, name: str, path: str) -> list[Object]:
    if not isinstance(patch, list):
        raise InvalidTemplate(f"{path} must be a list, and is {_kind(patch)}")
    key = MERGE_KEYS[name]
    merged = {item.get(key): item for item in base}
    for number, item in enumerate(patch):
        field = f"{path}[{number}]"
        if not isinstance(item, Mapping):
            raise InvalidTemplate(f"{field} must be a map of fields, and is {_kind(item)}")
        if item.get(key) is None:
            raise InvalidTemplate(f"{field}.{key} is missing: it names the item that is meant")
        own = item[key]
        if item.get(_DIRECTIVE) == "delete":
            merged.pop(own, None)
        elif own in merged and name not in _WHOLE:
            merged[own] = merge(merged[own], item, field)
        else:
            merged[own] = merge({}, item, field)
    return list(merged.values())


def _kind(value: Any) -> str:
    if isinstance(value, str):
        return f"the text {value!r}"
    if isinstance(value, bool) or value is None:
        return f"{value!r}".lower()
    return "a list" if isinstance(value, list) else "a map" if isinstance(value, Mapping) else f"{value!r}"
