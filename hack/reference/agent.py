"""The ArkAgent resource, from its definition."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import yaml

from hack.reference.markdown import code, page, prose, table

SOURCE = "charts/ark/files/arkagents.yaml"

_INTRODUCTION = """\
`kubectl explain arkagent.spec --recursive` shows the same in a terminal. A complete example is in
[Autoscaling](../guides/autoscaling.md); what is done with each part is described in
[the operator](../operations/operator.md)."""


def agent_page(definition: str) -> str:
    """Return the page.

    Args:
        definition: the CustomResourceDefinition, YAML.
    """
    [version] = yaml.safe_load(definition)["spec"]["versions"]
    schema = version["schema"]["openAPIV3Schema"]
    parts = [_INTRODUCTION]
    for part in ("spec", "status"):
        fields = schema["properties"][part]
        rows = [(code(path), kind, default, text) for path, kind, default, text in _fields(fields, "")]
        parts += [f"## {part}", prose(fields["description"]), table(("field", "type", "default", "meaning"), rows)]
    rules = [(code(where), prose(message)) for where, message in _rules(schema, "")]
    parts += ["## Rules", "The API server refuses an ArkAgent that breaks one of these.", table(("of", "rule"), rules)]
    columns = [(column["name"], code(column["jsonPath"])) for column in version["additionalPrinterColumns"]]
    parts += ["## Columns", "What `kubectl get arkagents` shows.", table(("column", "field"), columns)]
    return page("ArkAgent", SOURCE, *parts)


def _fields(schema: dict[str, Any], prefix: str) -> Iterator[tuple[str, str, str, str]]:
    required = set(schema.get("required", ()))
    for name, field in schema.get("properties", {}).items():
        path = prefix + name
        items = field.get("items", {})
        kind = f"{field['type']} of {items['type']}s" if items else field.get("type", "any")
        default = code(json.dumps(field["default"])) if "default" in field else "required" if name in required else ""
        yield path, kind, default, _meaning(field)
        yield from _fields(field, f"{path}.")
        yield from _fields(items, f"{path}[].")


def _meaning(field: dict[str, Any]) -> str:
    bounds = [f"at least {field['minimum']}"] if "minimum" in field else []
    bounds += [f"at most {field['maximum']}"] if "maximum" in field else []
    allowed = [f"one of {', '.join(code(str(value)) for value in field['enum'])}"] if "enum" in field else []
    limits = ", ".join(bounds + allowed)
    return prose(field.get("description", "")) + (f" ({limits})" if limits else "")


def _rules(schema: dict[str, Any], path: str) -> Iterator[tuple[str, str]]:
    for rule in schema.get("x-kubernetes-validations", ()):
        yield path or "ArkAgent", rule["message"]
    for name, field in schema.get("properties", {}).items():
        yield from _rules(field, f"{path}.{name}".lstrip("."))
