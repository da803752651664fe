"""Who owns a Deployment's fields after it was created, and after it was applied."""

from __future__ import annotations

from ark_kube.objects import Object
from ark_operator.cluster.ownership import handed_over


def entry(manager: str, operation: str, subresource: str = "", **spec: Object) -> Object:
    fields = {"f:spec": {f"f:{name}": value for name, value in spec.items()}}
    found: Object = {"manager": manager, "operation": operation, "fieldsV1": fields}
    return found | ({"subresource": subresource} if subresource else {})


def item(*entries: Object) -> Object:
    return {"metadata": {"managedFields": list(entries)}}


def test_what_was_posted_becomes_the_applys_without_the_replicas() -> None:
    hpa = entry("kube-controller-manager", "Update", "scale", replicas={})
    posted = entry("ark-operator", "Update", replicas={}, template={"f:spec": {}})
    assert handed_over(item(posted, hpa), "ark-operator") == [
        entry("ark-operator", "Apply", template={"f:spec": {}}),
        hpa,
    ]
    assert "f:replicas" in posted["fieldsV1"]["f:spec"], "what was read is not changed"


def test_what_is_right_already_is_left_alone() -> None:
    applied = entry("ark-operator", "Apply", template={})
    scaled = entry("ark-operator", "Update", "scale", replicas={})
    assert handed_over(item(applied, scaled, entry("kubectl-edit", "Update", template={})), "ark-operator") is None
    assert handed_over(item(), "ark-operator") is None
