"""The caches of what is in the cluster, and which agent a change is about."""

from __future__ import annotations

from collections.abc import Callable

from ark_api.names import KIND
from ark_kube.client import Client
from ark_kube.objects import Key, Object
from ark_kube.reflector import Reflector, without_managers
from ark_operator.cluster.kinds import ARK_AGENTS, AUTOSCALERS, DEPLOYMENTS, SCALED_OBJECTS
from ark_operator.cluster.sources import Sources
from ark_operator.decision.agent import Agent, slim_agent
from ark_operator.decision.observed import Observed

_SUFFIX = "-agent"
_KEDAS_AUTOSCALER = "keda-hpa-"


class Cluster:
    """What is there, kept by watches.

    Args:
        client: reads.
        namespace: the only one that is looked at; all where None.
        touched: called with the agent that a change is about.
        woken: called with an agent whose pool has left zero.
        keda_installed: called when ScaledObjects become known to the API server, or unknown.
    """

    def __init__(
        self,
        client: Client,
        namespace: str | None,
        touched: Callable[[Key], None],
        woken: Callable[[Key], None],
        keda_installed: Callable[[bool], None],
    ) -> None:
        self._touched = touched
        self._woken = woken
        self.agents = Reflector(client, ARK_AGENTS.path(namespace), self._agent_changed, project=slim_agent)
        self.deployments = Reflector(
            client,
            DEPLOYMENTS.path(namespace),
            self._deployment_changed,
            project=slim_deployment,
            label_selector="app.kubernetes.io/managed-by=ark-operator",
        )
        self.scaled_objects = Reflector(
            client, SCALED_OBJECTS.path(namespace), self._scaled_object_changed, installed=keda_installed
        )
        self.autoscalers = Reflector(
            client,
            AUTOSCALERS.path(namespace),
            self._autoscaler_changed,
            project=slim_autoscaler,
            label_selector="app.kubernetes.io/managed-by notin (keda-operator, ark-operator)",
        )
        self._others: dict[Key, frozenset[str]] = {}
        """By Deployment, the autoscalers that KEDA did not make for this project, as ``kind name``."""

    @property
    def reflectors(self) -> dict[str, Reflector]:
        """The watches, by the name of their resource."""
        return {
            "arkagents": self.agents,
            "deployments": self.deployments,
            "scaledobjects": self.scaled_objects,
            "horizontalpodautoscalers": self.autoscalers,
        }

    def agent(self, key: Key) -> Agent | None:
        """Return an agent; None where there is none."""
        item = self.agents.get(key)
        return None if item is None else Agent(item)

    def deployment(self, agent: Agent) -> Object | None:
        """Return the Deployment of an agent's name, whoever has made it; None where there is none."""
        return self.deployments.get((agent.namespace, agent.deployment_name))

    def observe(self, agent: Agent, sources: Sources) -> Observed:
        """Return what there is of an agent."""
        return Observed(
            deployment=self.deployment(agent),
            scaled_object=self.scaled_objects.get(agent.key),
            others=tuple(sorted(self._others.get((agent.namespace, agent.deployment_name), ()))),
            keda=sources.keda,
            depth=sources.depths.fresh(agent),
            shown_depth=sources.depths.shown(agent.key),
            sizing=sources.sizing(agent),
        )

    def _agent_changed(self, key: Key, before: Object | None, now: Object | None) -> None:
        # The operator's own status writes must not bring an agent back ahead of its backoff.
        if before is None or now is None or _asks_of(before) != _asks_of(now):
            self._touched(key)

    def _deployment_changed(self, key: Key, before: Object | None, now: Object | None) -> None:
        if not key[1].endswith(_SUFFIX):
            return
        agent = (key[0], key[1].removesuffix(_SUFFIX))
        self._touched(agent)
        if before is not None and now is not None and not before["spec"]["replicas"] and now["spec"]["replicas"]:
            self._woken(agent)

    def _scaled_object_changed(self, key: Key, before: Object | None, now: Object | None) -> None:
        self._touched(key)
        for item, present in ((before, False), (now, True)):
            target = ((item or {}).get("spec") or {}).get("scaleTargetRef") or {}
            if item is not None and target.get("kind", "Deployment") == "Deployment":
                own = _is_of_an_agent(item)
                self._note_other((key[0], str(target.get("name"))), f"ScaledObject {key[1]}", present and not own)

    def _autoscaler_changed(self, key: Key, before: Object | None, now: Object | None) -> None:
        for item, present in ((before, False), (now, True)):
            if item is not None and item["spec"]["scaleTargetRef"].get("kind") == "Deployment":
                target = (key[0], str(item["spec"]["scaleTargetRef"]["name"]))
                foreign = not key[1].startswith(_KEDAS_AUTOSCALER)
                self._note_other(target, f"HorizontalPodAutoscaler {key[1]}", present and foreign)

    def _note_other(self, deployment: Key, name: str, present: bool) -> None:
        others = self._others.get(deployment, frozenset())
        now = others | {name} if present else others - {name}
        if now == others:
            return
        if now:
            self._others[deployment] = now
        else:
            del self._others[deployment]
        if deployment[1].endswith(_SUFFIX):
            self._touched((deployment[0], deployment[1].removesuffix(_SUFFIX)))


def _asks_of(item: Object) -> tuple[object, ...]:
    """Return what of an agent decisions rest on, the status excepted."""
    metadata = item["metadata"]
    return tuple(
        metadata.get(name) for name in ("uid", "generation", "annotations", "deletionTimestamp", "managedFields")
    )


def _is_of_an_agent(item: Object) -> bool:
    """Return whether the operator has made a ScaledObject, for the agent of its name."""
    metadata = item["metadata"]
    return any(
        owner.get("kind") == KIND and owner.get("controller") and owner.get("name") == metadata["name"]
        for owner in metadata.get("ownerReferences") or []
    )


def slim_autoscaler(item: Object) -> Object:
    """Keep of an autoscaler what it scales."""
    names = ("name", "namespace", "uid", "resourceVersion")
    metadata = {name: item["metadata"][name] for name in names}
    return {"metadata": metadata, "spec": {"scaleTargetRef": item["spec"]["scaleTargetRef"]}}


def slim_deployment(item: Object) -> Object:
    """Keep of a Deployment's status what decisions rest on."""
    item = without_managers(item)
    status = item.get("status") or {}
    names = ("replicas", "readyReplicas", "updatedReplicas", "observedGeneration")
    kept = {name: status[name] for name in names if name in status}
    bad = [
        {name: condition[name] for name in ("type", "status", "message") if name in condition}
        for condition in status.get("conditions") or []
        if (condition["type"], condition["status"]) in {("ReplicaFailure", "True"), ("Progressing", "False")}
    ]
    return {**item, "status": {**kept, **({"conditions": bad} if bad else {})}}
