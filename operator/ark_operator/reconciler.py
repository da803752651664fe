"""Carries decisions out: the only module that writes ArkAgents and their children."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import structlog

from ark_api.names import API_VERSION, KIND, MIRROR, PIN_END, SEEN_APPLY
from ark_kube.client import Client
from ark_kube.controller import Failed
from ark_kube.errors import ApiError
from ark_kube.events import Events
from ark_kube.objects import Key, Object
from ark_operator.cluster.cache import Cluster
from ark_operator.cluster.kinds import ARK_AGENTS, DEPLOYMENTS, SCALED_OBJECTS
from ark_operator.cluster.ownership import let_go_of_number, let_go_of_replicas
from ark_operator.cluster.sources import Sources
from ark_operator.decision.agent import Agent
from ark_operator.decision.decide import decide, name_taken
from ark_operator.decision.observed import Observed, Refusal
from ark_operator.decision.options import Options
from ark_operator.decision.plan import Mirror, Note, Plan, Scale
from ark_operator.decision.pod_starts import PodStarts
from ark_operator.metrics import OperatorMetrics

_CONFLICT = 409
_INVALID = 422
_PASSES = 4
"""A pass writes what is to be written, the next one sees what came of it; the last one only writes the status."""


class _Taken(Exception):
    """An object of a child's name is somebody else's."""


@dataclass(slots=True)
class _Progress:
    """What has come of one reconcile so far."""

    refusals: dict[str, Refusal] = field(default_factory=dict)
    """By kind."""
    applied: set[str] = field(default_factory=set)
    """Kinds."""
    failures: list[str] = field(default_factory=list)
    """What else is to be tried again."""


class Reconciler:
    """Makes agents what they should be.

    Args:
        client: writes.
        events: posts.
        cluster: caches of what is there.
        sources: what else decisions rest on.
        options: the operator's settings.
        metrics: counts bursts and modes.
        now: UTC.
    """

    def __init__(
        self,
        client: Client,
        events: Events,
        cluster: Cluster,
        sources: Sources,
        options: Options,
        metrics: OperatorMetrics,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._client = client
        self._events = events
        self._cluster = cluster
        self._sources = sources
        self._options = options
        self._metrics = metrics
        self._now = now
        self._starts = PodStarts()
        self._log = structlog.get_logger(component="reconciler")

    async def reconcile(self, key: Key) -> float | None:
        """Make one agent's children and status as they should be; return when to look again, seconds.

        Raises:
            Failed: a child is refused; the status says so.
            ApiError: a call is refused that should not be.
            ApiUnavailable: the API server does not answer.
        """
        progress = _Progress()
        agent, plan = None, None
        for _ in range(_PASSES):
            agent = self._cluster.agent(key)
            if agent is None or agent.is_going:
                self._metrics.forget(key)
                self._starts.forget(key)
                return None
            known = self._cluster.observe(agent, self._sources)
            now = self._now()
            observed = replace(
                known,
                start_seconds=self._starts.look(agent, known.deployment, now),
                refusals=dict(progress.refusals),
                applied=frozenset(progress.applied),
            )
            plan = decide(agent, observed, self._sources.usage(key), now, self._options)
            if plan.yields is not None:
                await self._yield(agent, plan.yields)
                break
            if not plan.changes_children or progress.failures:
                break
            await self._write_children(agent, plan, observed, progress)
        assert agent is not None
        assert plan is not None
        self._metrics.mode(key, plan.mode)
        await self._tell(agent, plan)
        refused = [f"{kind} is refused: {refusal.message}" for kind, refusal in progress.refusals.items()]
        if refused or progress.failures:
            raise Failed("; ".join([*refused, *progress.failures]))
        return plan.again_after

    async def _yield(self, agent: Agent, condition: Object) -> None:
        """Say that another operator looks after an agent, and touch nothing else of it."""
        known = agent.status.get("conditions") or []
        types = [entry.get("type") for entry in known]
        place = str(types.index(condition["type"])) if condition["type"] in types else "-"
        path = f"/status/conditions/{place}"
        patch: list[Mapping[str, Any]] = [
            {"op": "add" if place == "-" else "replace", "path": path, "value": condition}
        ]
        if place != "-":
            patch.insert(0, {"op": "test", "path": f"{path}/type", "value": condition["type"]})
        self._log.warning(
            "another operator looks after this agent, leaving it alone",
            agent=f"{agent.namespace}/{agent.name}",
            why=condition["message"],
        )
        status = ARK_AGENTS.path(agent.namespace, agent.name, "status")
        self._cluster.agents.observe(await self._client.patch(status, patch, "json"))

    async def _write_children(self, agent: Agent, plan: Plan, observed: Observed, progress: _Progress) -> None:
        """Write what the plan has for the children.

        The order matters: a ScaledObject needs its target, and is paused before the number is a person's.
        """
        log = self._log.bind(agent=f"{agent.namespace}/{agent.name}", mode=str(plan.mode))
        if plan.create is not None and await self._refusable("Deployment", self._create(agent, plan.create), progress):
            log.info("deployment created", replicas=plan.create["spec"]["replicas"])
        if plan.apply is not None and await self._refusable("Deployment", self._apply_deployment(plan.apply), progress):
            log.info("deployment applied")
        if plan.autoscale is not None and await self._refusable(
            "ScaledObject", self._apply_scaled_object(plan.autoscale), progress
        ):
            log.info("scaledobject applied")
        if plan.stop_autoscaling is not None:
            await self._stop_autoscaling(agent, plan.stop_autoscaling)
            log.info("scaledobject deleted")
        if plan.scale is not None and observed.deployment is not None:
            await self._scale(agent, plan, plan.scale, observed.deployment)
            log.info("scaled", replicas=plan.scale.replicas, burst=plan.scale.burst)
        if plan.mirror is not None and (observed.deployment is not None or "Deployment" not in progress.refusals):
            await self._mirror(agent, plan.mirror, progress)

    async def _refusable(self, kind: str, write: Awaitable[None], progress: _Progress) -> bool:
        """Await a write; where the object is refused, the next decision knows. Return whether it was not."""
        try:
            await write
        except _Taken as error:
            progress.refusals[kind] = Refusal(str(error), taken=True)
        except ApiError as error:
            if not error.refuses_object:
                raise
            progress.refusals[kind] = Refusal(error.message)
        else:
            progress.applied.add(kind)
        return kind in progress.applied

    async def _create(self, agent: Agent, wanted: Object) -> None:
        try:
            made = await self._client.create(DEPLOYMENTS.path(agent.namespace), wanted)
        except ApiError as error:
            if error.status != _CONFLICT:
                raise
            # It is there, but not in the cache: one of our own that lost its labels, or somebody else's.
            made = await self._client.get(DEPLOYMENTS.path(agent.namespace, agent.deployment_name))
            if not agent.owns(made):
                raise _Taken(name_taken(agent, made).message) from error
            self._cluster.deployments.observe(made, beyond=True)
        else:
            self._cluster.deployments.observe(made)

    async def _apply_deployment(self, wanted: Object) -> None:
        path = DEPLOYMENTS.path(wanted["metadata"]["namespace"], wanted["metadata"]["name"])
        await let_go_of_replicas(self._client, path)
        self._cluster.deployments.observe(await self._client.patch(path, wanted, "apply"))

    async def _apply_scaled_object(self, wanted: Object) -> None:
        path = SCALED_OBJECTS.path(wanted["metadata"]["namespace"], wanted["metadata"]["name"])
        self._cluster.scaled_objects.observe(await self._client.patch(path, wanted, "apply"))

    async def _stop_autoscaling(self, agent: Agent, uid: str) -> None:
        path = SCALED_OBJECTS.path(agent.namespace, agent.name)
        held = await self._client.delete(path, {"preconditions": {"uid": uid}})
        if held is None:
            self._cluster.scaled_objects.forget(agent.key)
        else:
            self._cluster.scaled_objects.observe(held)

    async def _scale(self, agent: Agent, plan: Plan, scale: Scale, read: Object) -> None:
        path = DEPLOYMENTS.path(agent.namespace, agent.deployment_name)
        if scale.burst:
            await self._raise(path, read["spec"].get("replicas", 1), scale.replicas)
        else:
            await self._client.scale(path, scale.replicas)
        # The answer is a Scale; what else has changed up to its version is only in the Deployment itself.
        self._cluster.deployments.observe(await self._client.get(path))
        if not scale.burst:
            return
        self._metrics.bursts.inc()
        self._sources.depths.forget(agent.key)
        if plan.burst_note is not None:
            await self._post(agent, plan.burst_note)

    async def _raise(self, path: str, before: int, replicas: int) -> None:
        """Scale, unless the HPA was faster: from another number than the one that was read it might be lowering."""
        patch = [
            {"op": "test", "path": "/spec/replicas", "value": before},
            {"op": "replace", "path": "/spec/replicas", "value": replicas},
        ]
        try:
            await self._client.patch(f"{path}/scale", patch, "json")
        except ApiError as error:
            if error.status not in (_INVALID, _CONFLICT):
                raise
            raise Failed(f"the pool has been scaled meanwhile, looking again: {error.message}") from error

    async def _mirror(self, agent: Agent, mirror: Mirror, progress: _Progress) -> None:
        """Fill ``spec.replicas``, unless a person was faster."""
        patch = mirror_patch(agent, mirror)
        try:
            answer = await self._client.patch(ARK_AGENTS.path(agent.namespace, agent.name), patch, "json")
        except ApiError as error:
            if error.status not in (_INVALID, _CONFLICT):
                raise
            # The status is written all the same; the person's change, or the backoff, brings the agent back.
            progress.failures.append(f"spec.replicas cannot be set to {mirror.replicas} now: {error.message}")
            return
        if mirror.replicas is None:
            path = ARK_AGENTS.path(agent.namespace, agent.name)
            answer = await let_go_of_number(self._client, path, answer)
        self._cluster.agents.observe(answer)

    async def _tell(self, agent: Agent, plan: Plan) -> None:
        """Post the events, then write the status that they were told from: after a crash they are posted again."""
        for note in plan.notes:
            await self._post(agent, note)
        if plan.status is None:
            return
        path = ARK_AGENTS.path(agent.namespace, agent.name, "status")
        patch = [{"op": "add", "path": "/status", "value": plan.status}]
        self._cluster.agents.observe(await self._client.patch(path, patch, "json"))

    async def _post(self, agent: Agent, note: Note) -> None:
        about = {"apiVersion": API_VERSION, "kind": KIND, **agent.object}
        await self._events.post(about, note.type, note.reason, note.message, note.occasion)


def mirror_patch(agent: Agent, mirror: Mirror) -> list[Mapping[str, Any]]:
    """Return the JSON patch that fills ``spec.replicas`` and says that the operator did, if all still is what it was.

    The annotations are tested too: `kubectl ark pin` to the number that is there changes nothing but them.
    """
    tests: list[Mapping[str, Any]] = [{"op": "test", "path": "/spec/replicas", "value": mirror.before}]
    known = [name for name in (MIRROR, PIN_END, SEEN_APPLY) if name in agent.annotations]
    tests += [{"op": "test", "path": _path(name), "value": agent.annotations[name]} for name in known]
    gone = [PIN_END] if mirror.forget_end else []
    if not mirror.replicas:
        gone += [name for name in (MIRROR, SEEN_APPLY) if name in known]
        if mirror.replicas == 0 and mirror.before is not None:
            tests.append({"op": "remove", "path": "/spec/replicas"})
        return [*tests, *({"op": "remove", "path": _path(name)} for name in gone)]
    notes = {MIRROR: str(mirror.replicas), SEEN_APPLY: agent.seen_apply}
    if agent.annotations:
        written: list[Mapping[str, Any]] = [
            {"op": "add", "path": _path(name), "value": value} for name, value in notes.items()
        ]
    else:
        written = [{"op": "add", "path": "/metadata/annotations", "value": notes}]
        tests.append({"op": "test", "path": "/metadata/annotations", "value": None})
    removals = [{"op": "remove", "path": _path(name)} for name in gone]
    return [*tests, {"op": "add", "path": "/spec/replicas", "value": mirror.replicas}, *written, *removals]


def _path(annotation: str) -> str:
    return "/metadata/annotations/" + annotation.replace("~", "~0").replace("/", "~1")
