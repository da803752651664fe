"""What the chart has installed, by its labels, and the agents: read once for all checks, as far as one may look."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from ark_cli.agents import Agent, read_agents
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
    agents: tuple[Agent, ...] = ()
    """Of all namespaces, or where those are not to be seen, of the one."""
    agents_of: str = ""
    """Which of the two."""
    agents_hidden: str = ""
    """Why they cannot be seen; empty where they can."""

    @property
    def settings(self) -> Mapping[str, str]:
        """The operator's variables, of the first release where there are several; empty where it cannot be seen."""
        return next((variables(one, "operator") for one in self.component("operator")), {})

    @property
    def keda_namespace(self) -> str:
        """Where KEDA runs, as the operator has it."""
        return self.settings.get("ARK_OPERATOR_KEDA_NAMESPACE", "keda")

    def component(self, name: str) -> list[Object]:
        """Return the Deployments of ``scaler`` or ``operator``, one for each release."""
        return [item for item in self.deployments if item["metadata"]["labels"].get(_COMPONENT) == name]


_COMPONENT = "app.kubernetes.io/component"


async def read_installation(kubectl: Kubectl, now: datetime) -> Installation:
    """Read it; what may not be read is said, and no error."""
    found, hidden = [], ""
    try:
        found = (await kubectl.get(f"/apis/apps/v1/deployments?labelSelector={_LABELS}"))["items"]
    except CliError as error:
        hidden = str(error)
    agents, where, agents_hidden = await _agents(kubectl)
    return Installation(tuple(found), hidden, now, tuple(agents), where, agents_hidden)


async def _agents(kubectl: Kubectl) -> tuple[list[Agent], str, str]:
    try:
        return await read_agents(Kubectl(replace(kubectl.where, everywhere=True))), "all namespaces", ""
    except CliError:
        try:
            narrow = Kubectl(replace(kubectl.where, everywhere=False))
            return await read_agents(narrow), f"namespace {await kubectl.namespace()}", ""
        except CliError as error:
            return [], "", str(error)


def place(item: Object) -> str:
    """Return namespace and name of an object."""
    metadata = item["metadata"]
    return f"{metadata['namespace']}/{metadata['name']}"


def variables(deployment: Object, container: str) -> dict[str, str]:
    """Return the plain variables of a container."""
    for one in deployment["spec"]["template"]["spec"]["containers"]:
        if one["name"] == container:
            return {entry["name"]: entry["value"] for entry in one.get("env") or [] if "value" in entry}
    return {}
