"""What the chart has installed, found by its labels, as far as the caller may look."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from ark_cli.errors import CliError
from ark_cli.kubectl import Kubectl, Object

_LABELS = "app.kubernetes.io/part-of%3Dark"


@dataclass(frozen=True, slots=True)
class Installation:
    """Scaler and operator."""

    deployments: tuple[Object, ...]
    hidden: str
    """Why they cannot be seen; empty where they can."""
    now: datetime

    def component(self, name: str) -> list[Object]:
        """Answer the Deployments of ``scaler`` or ``operator``, one for each release."""
        return [item for item in self.deployments if item["metadata"]["labels"].get(_COMPONENT) == name]


_COMPONENT = "app.kubernetes.io/component"


async def read_installation(kubectl: Kubectl, now: datetime) -> Installation:
    """Read it; what may not be read is said, and no error."""
    try:
        found = (await kubectl.get(f"/apis/apps/v1/deployments?labelSelector={_LABELS}"))["items"]
    except CliError as error:
        return Installation((), str(error), now)
    return Installation(tuple(found), "", now)


def place(item: Object) -> str:
    """Answer namespace and name of an object."""
    metadata = item["metadata"]
    return f"{metadata['namespace']}/{metadata['name']}"


def variables(deployment: Object, container: str) -> dict[str, str]:
    """Answer the plain variables of a container."""
    for one in deployment["spec"]["template"]["spec"]["containers"]:
        if one["name"] == container:
            return {entry["name"]: entry["value"] for entry in one.get("env") or [] if "value" in entry}
    return {}
