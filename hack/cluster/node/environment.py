"""A container's environment: values, references to Secrets, ConfigMaps, fields and resources."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from kubernetes.utils.quantity import parse_quantity

Object = dict[str, Any]

_REFERENCE = re.compile(r"\$\$|\$\(([^()]+)\)")
_KINDS = {
    "secret": {"secret", "secretRef", "secretKeyRef"},
    "configMap": {"configMap", "configMapRef", "configMapKeyRef"},
}
"""The keys that refer to an object of a kind: of volumes, ``envFrom`` and ``env``."""
_SUBSCRIPT = re.compile(r"metadata\.(labels|annotations)\['([^']+)'\]")


class MissingReference(Exception):
    """A Secret, a ConfigMap, a key of one or a field that a Pod refers to is not there."""


@dataclass(frozen=True, slots=True)
class Sources:
    """What environments and volumes are made of; values are bytes by key, by the object's name."""

    secrets: Mapping[str, Mapping[str, bytes]] = field(default_factory=dict)
    config_maps: Mapping[str, Mapping[str, bytes]] = field(default_factory=dict)

    def find(self, kind: str, reference: Mapping[str, Any]) -> Mapping[str, bytes] | None:
        """Return the data of a Secret or ConfigMap; None where it is missing and optional.

        Raises:
            MissingReference: it is missing.
        """
        name = reference.get("name") or reference.get("secretName") or ""
        objects = self.secrets if kind == "secret" else self.config_maps
        if name in objects:
            return objects[name]
        if reference.get("optional"):
            return None
        raise MissingReference(f"{kind} {name!r} not found")

    def value(self, kind: str, reference: Mapping[str, Any]) -> str | None:
        """Return one key's value; None where it is missing and optional.

        Raises:
            MissingReference: it is missing.
        """
        data = self.find(kind, reference)
        if data is not None and reference["key"] in data:
            return data[reference["key"]].decode()
        if data is None or reference.get("optional"):
            return None
        raise MissingReference(f"{kind} {reference.get('name')!r} has no key {reference['key']!r}")


def decoded(item: Object) -> dict[str, bytes]:
    """Return the data of a Secret or ConfigMap, as the API gives it."""
    data: Mapping[str, str] = item.get("data") or {}
    if item["kind"] == "Secret":
        return {key: base64.b64decode(value) for key, value in data.items()}
    binary: Mapping[str, str] = item.get("binaryData") or {}
    return {key: value.encode() for key, value in data.items()} | {
        key: base64.b64decode(value) for key, value in binary.items()
    }


def referred(pod: Object) -> tuple[set[str], set[str]]:
    """Return the names of the Secrets and of the ConfigMaps that a Pod refers to."""
    secrets: set[str] = set()
    config_maps: set[str] = set()
    for kind, name in _references(pod["spec"]):
        (secrets if kind == "secret" else config_maps).add(name)
    return secrets, config_maps


def _references(spec: Object) -> Iterator[tuple[str, str]]:
    sources = [
        *(entry for container in spec["containers"] for entry in container.get("envFrom", [])),
        *(entry.get("valueFrom", {}) for container in spec["containers"] for entry in container.get("env", [])),
        *spec.get("volumes", []),
        *(part for volume in spec.get("volumes", []) for part in volume.get("projected", {}).get("sources", [])),
    ]
    for source in sources:
        for kind, keys in _KINDS.items():
            for key in keys & source.keys():
                yield kind, source[key].get("secretName") or source[key]["name"]


def service_links(services: Iterable[Object]) -> dict[str, str]:
    """Return the variables that a kubelet tells Pods of their namespace's Services by.

    A program whose own variables begin with a Service's name sees them, too: ``ARK_SCALER_PORT=tcp://10.96.0.7:6000``.
    """
    values: dict[str, str] = {}
    for service in services:
        spec, name = service["spec"], service["metadata"]["name"].upper().replace("-", "_")
        ip, ports = spec.get("clusterIP", "None"), spec.get("ports", [])
        if ip == "None" or not ip or not ports:
            continue
        first = ports[0]
        values |= {f"{name}_SERVICE_HOST": ip, f"{name}_SERVICE_PORT": str(first["port"])}
        values[f"{name}_PORT"] = f"{first.get('protocol', 'TCP').lower()}://{ip}:{first['port']}"
        for port in ports:
            protocol = port.get("protocol", "TCP")
            if "name" in port:
                values[f"{name}_SERVICE_PORT_{port['name'].upper().replace('-', '_')}"] = str(port["port"])
            prefix = f"{name}_PORT_{port['port']}_{protocol}"
            values |= {
                prefix: f"{protocol.lower()}://{ip}:{port['port']}",
                f"{prefix}_PROTO": protocol.lower(),
                f"{prefix}_PORT": str(port["port"]),
                f"{prefix}_ADDR": ip,
            }
    return values


def environment(
    container: Object, pod: Object, ip: str, sources: Sources, given: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return a container's variables, in Kubernetes' order: ``envFrom`` first, then ``env``, later ones win.

    Args:
        container: the container.
        pod: its Pod.
        ip: its Pod's address.
        sources: Secrets and ConfigMaps.
        given: variables that every container of the Pod has, which its own win over.

    Raises:
        MissingReference: something that it refers to is not there.
    """
    values: dict[str, str] = dict(given or {})
    for entry in container.get("envFrom", []):
        kind, reference = (
            ("secret", entry["secretRef"]) if "secretRef" in entry else ("configMap", entry["configMapRef"])
        )
        prefix = entry.get("prefix", "")
        values |= {f"{prefix}{key}": value.decode() for key, value in (sources.find(kind, reference) or {}).items()}
    for entry in container.get("env", []):
        if "valueFrom" in entry:
            value = _from(entry["valueFrom"], container, pod, ip, sources)
        else:
            value = expand(entry.get("value", ""), values)
        if value is not None:
            values[entry["name"]] = value
    return values


def expand(text: str, values: Mapping[str, str]) -> str:
    """Put variables in the place of ``$(NAME)``; unknown ones stay as they are, ``$$`` is a dollar sign."""

    def replace(match: re.Match[str]) -> str:
        return "$" if match[1] is None else values.get(match[1], match[0])

    return _REFERENCE.sub(replace, text)


def _from(source: Object, container: Object, pod: Object, ip: str, sources: Sources) -> str | None:
    if "secretKeyRef" in source:
        return sources.value("secret", source["secretKeyRef"])
    if "configMapKeyRef" in source:
        return sources.value("configMap", source["configMapKeyRef"])
    if "fieldRef" in source:
        return field_of(pod, source["fieldRef"]["fieldPath"], ip)
    return resource_of(container, source["resourceFieldRef"])


def field_of(pod: Object, path: str, ip: str) -> str:
    """Return a field by the downward API.

    Raises:
        MissingReference: the downward API has no such field.
    """
    metadata, spec = pod["metadata"], pod["spec"]
    fields = {
        "metadata.name": metadata["name"],
        "metadata.namespace": metadata["namespace"],
        "metadata.uid": metadata["uid"],
        "spec.nodeName": spec.get("nodeName", ""),
        "spec.serviceAccountName": spec.get("serviceAccountName", ""),
        "status.podIP": ip,
        "status.podIPs": ip,
        "status.hostIP": "127.0.0.1",
    }
    if path in fields:
        return str(fields[path])
    match = _SUBSCRIPT.fullmatch(path)
    if match is None:
        raise MissingReference(f"field {path!r} is not known")
    return str((metadata.get(match[1]) or {}).get(match[2], ""))


def resource_of(container: Object, reference: Object) -> str:
    """Return a container's request or limit, rounded up to the reference's divisor."""
    kind, _, resource = reference["resource"].partition(".")
    quantity = (container.get("resources", {}).get(kind) or {}).get(resource, "0")
    divisor = parse_quantity(reference.get("divisor") or "1") or 1
    return str(math.ceil(parse_quantity(quantity) / divisor))
