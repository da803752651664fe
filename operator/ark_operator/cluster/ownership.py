"""Who owns the fields of a Deployment that the operator has created.

A Deployment is created with the right number of replicas, by POST, and put right later by server-side apply without
that field, which is others' (contract C4). To the API server these are two managers of the same name: "Update" for the
POST, and "Apply". What both own would stay for ever: an apply that no longer has a field removes it only where nobody
else owns it, so a variable or a node selector that a person takes out of the template would not go. So before the
first apply the POST's share is made the apply's, without ``spec.replicas``.
"""

from __future__ import annotations

import copy
from typing import Any

from ark_api.pin import owns_replicas
from ark_kube.client import Client
from ark_kube.errors import ApiError
from ark_kube.objects import Object

_CONFLICT = 409
_TRIES = 5
"""What pins is noted already: no later look at the agent would find that this is still to be done."""


async def let_go_of_replicas(client: Client, path: str) -> None:
    """Hand what the operator owns by POST over to its server-side apply, ``spec.replicas`` excepted.

    Raises:
        ApiError: the object has changed in between (409), or is gone (404).
    """
    item = await client.get(path)
    managed = handed_over(item, client.field_manager)
    if managed is not None:
        metadata = {"managedFields": managed, "resourceVersion": item["metadata"]["resourceVersion"]}
        await client.patch(path, {"metadata": metadata}, "merge")


async def let_go_of_number(client: Client, path: str, item: Object) -> Object:
    """Leave ``spec.replicas`` of an ArkAgent to the manifest that pins it; return the agent as it is then.

    Of a number that two own, the manifest's author could not take the pin back by leaving the field out.

    Args:
        client: writes.
        path: of the agent.
        item: the agent, as it is now.

    Raises:
        ApiError: it has changed again and again in between (409), or is gone (404).
    """
    for _ in range(_TRIES):
        managed = without_number(item, client.field_manager)
        if managed is None:
            return item
        metadata = {"managedFields": managed, "resourceVersion": item["metadata"]["resourceVersion"]}
        try:
            return await client.patch(path, {"metadata": metadata}, "merge")
        except ApiError as error:
            if error.status != _CONFLICT:
                raise
            changed = error
        item = await client.patch(path, {}, "merge")  # changes nothing, and answers the agent as it is now
    raise changed


def without_number(item: Object, manager: str) -> list[Object] | None:
    """Return the managers without the operator's share of a number that somebody else has applied; None: they are."""
    entries = item["metadata"].get("managedFields") or []
    mine = [entry for entry in entries if _is(entry, manager, "Update") and _has_number(entry)]
    if not mine or not any(owns_replicas(entry) for entry in entries):
        return None
    changed = copy.deepcopy(entries)
    for entry in changed:
        if entry in mine:
            del entry["fieldsV1"]["f:spec"]["f:replicas"]
            if not entry["fieldsV1"]["f:spec"]:
                del entry["fieldsV1"]["f:spec"]
    return [entry for entry in changed if entry["fieldsV1"]]


def _has_number(entry: Any) -> bool:
    return "f:replicas" in ((entry.get("fieldsV1") or {}).get("f:spec") or {})


def handed_over(item: Object, manager: str) -> list[Object] | None:
    """Return the managers as they should be; None where they are."""
    entries = item["metadata"].get("managedFields") or []
    posted = [entry for entry in entries if _is(entry, manager, "Update")]
    applied = [entry for entry in entries if _is(entry, manager, "Apply")]
    held = any("f:replicas" in (entry.get("fieldsV1") or {}).get("f:spec", {}) for entry in applied)
    if not posted and not held:
        return None
    others = [entry for entry in entries if entry not in posted and entry not in applied]
    mine = copy.deepcopy((applied or posted)[0])
    mine["operation"] = "Apply"
    mine["fieldsV1"].get("f:spec", {}).pop("f:replicas", None)
    return [mine, *others]


def _is(entry: Any, manager: str, operation: str) -> bool:
    return entry.get("manager") == manager and entry.get("operation") == operation and not entry.get("subresource")
