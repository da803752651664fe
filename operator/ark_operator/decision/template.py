"""Merge a pod template into another, by the rules of Kubernetes' strategic merge patch.

Maps are merged. Lists whose items have a name of their own are merged item by item, any other list is replaced. null
removes a field; ``$patch: delete`` removes an item, ``$patch: replace`` takes a map or an item as it stands. The merge
keys are those of the API's schema (``x-kubernetes-patch-merge-key``). One rule is not Kubernetes': a variable of the
environment is replaced as a whole, since a value and a reference in one would be refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ark_kube.objects import Object

_NAMED_BY: Mapping[str, Mapping[str, str | None]] = {
    "containers": {"name": None},
    "initContainers": {"name": None},
    "ephemeralContainers": {"name": None},
    "env": {"name": None},
    "volumes": {"name": None},
    "imagePullSecrets": {"name": None},
    "volumeMounts": {"mountPath": None},
    "volumeDevices": {"devicePath": None},
    "ports": {"containerPort": None, "protocol": "TCP"},
    "hostAliases": {"ip": None},
    "topologySpreadConstraints": {"topologyKey": None, "whenUnsatisfiable": None},
    "ownerReferences": {"uid": None},
}
"""The fields of an item that name it, with their defaults, by the list's own name."""
_WHOLE = frozenset({"env"})
_DIRECTIVE = "$patch"


class InvalidTemplate(Exception):
    """A template cannot be merged; the message names the field."""


def parse(text: str) -> Object:
    """Return a template that is given as JSON; an empty one for no text.

    Raises:
        ValueError: it is no JSON, or no map.
    """
    try:
        given = json.loads(text) if text else {}
    except json.JSONDecodeError as error:
        raise ValueError(f"the template is no JSON: {error}") from error
    if not isinstance(given, dict):
        raise ValueError(f"the template must be a map of fields, and is {_kind(given)}")
    return given


def merge(base: Mapping[str, Any], patch: Any, path: str) -> Object:
    """Return the base with the patch merged in; neither is changed.

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
        elif is_named(name):
            merged[name] = _merge_list(merged.get(name) or [], value, name, field)
        elif isinstance(merged.get(name), Mapping):
            merged[name] = merge(merged[name], value, field)
        elif isinstance(merged.get(name), list) and not isinstance(value, list):
            raise InvalidTemplate(f"{field} must be a list, and is {_kind(value)}")
        else:
            merged[name] = value
    return merged


def is_named(name: str) -> bool:
    """Return whether the items of a list of this name have names of their own."""
    return name in _NAMED_BY


def name_of(list_name: str, item: Any) -> tuple[Any, ...] | None:
    """Return what names an item of a list whose items have names; None where it has no proper name."""
    if not isinstance(item, Mapping):
        return None
    values = tuple(item.get(field, default) for field, default in _NAMED_BY[list_name].items())
    return values if all(isinstance(value, str | int) for value in values) else None


def _merge_list(base: Sequence[Object], patch: Any, name: str, path: str) -> list[Object]:
    if not isinstance(patch, list):
        raise InvalidTemplate(f"{path} must be a list, and is {_kind(patch)}")
    merged = {name_of(name, item): item for item in base}
    for number, item in enumerate(patch):
        field = f"{path}[{number}]"
        if not isinstance(item, Mapping):
            raise InvalidTemplate(f"{field} must be a map of fields, and is {_kind(item)}")
        own = name_of(name, item)
        if own is None:
            fields = " and ".join(f"{field}.{part}" for part in _NAMED_BY[name])
            raise InvalidTemplate(f"{fields} must be set to identify the item")
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
