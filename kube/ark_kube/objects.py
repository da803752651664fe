"""Objects of the Kubernetes API as plain dicts, their keys, and where the API has them. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Object = dict[str, Any]
Key = tuple[str, str]
"""Namespace and name."""


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind of object and where the API has it."""

    group_version: str
    plural: str
    namespaced: bool = True

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        """Return the path of an object, or of the list of all, of a namespace or of the whole cluster."""
        root = "api" if "/" not in self.group_version else "apis"
        parts = [root, self.group_version]
        if namespace and self.namespaced:
            parts += ["namespaces", namespace]
        parts += [part for part in (self.plural, name, subresource) if part]
        return "/" + "/".join(parts)


def key_of(item: Object) -> Key:
    """Return the key of an object."""
    return item["metadata"].get("namespace", ""), item["metadata"]["name"]
