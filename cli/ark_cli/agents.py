"""ArkAgents as people ask for them. Pure, but for `read_agents` and `read_agent`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from ark_cli.errors import CliError, NotThere
from ark_cli.kubectl import AGENTS, Kubectl, Object
from ark_taskqueue import DEFAULT_GROUP, Budget, InvalidQueueName, QueueKeys

MIRROR = "arkonis.dev/autoscaled-replicas"
"""Annotation with the number that the operator wrote into ``spec.replicas``; without it the number is a person's."""
PIN_END = "arkonis.dev/pin"
"""Annotation with a person's number and when it ends: ``5 until 2026-11-25T12:00:00Z``."""
_SAID_BY_MODE = {"Disabled", "Pinned", "BudgetExceeded"}
_TIME = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True, slots=True)
class Why:
    """Why a pool is as it is."""

    reason: str
    """In one word."""
    message: str
    """In a sentence, with what to do where something is wrong."""
    is_bad: bool = False
    """Whether somebody should look."""


class Agent:
    """One ArkAgent."""

    def __init__(self, item: Object) -> None:
        """
        Args:
            item: as the API server has it.
        """
        self.object = item
        self.spec: Mapping[str, Any] = item.get("spec") or {}
        self.status: Mapping[str, Any] = item.get("status") or {}

    @property
    def namespace(self) -> str:
        """Its namespace."""
        return str(self.object["metadata"]["namespace"])

    @property
    def name(self) -> str:
        """Its name."""
        return str(self.object["metadata"]["name"])

    @property
    def mode(self) -> str:
        """Who sets the pool's size; empty where no operator has said so."""
        return str(self.status.get("mode", ""))

    @property
    def wanted(self) -> int:
        """Agents that are wanted now."""
        if self.mode == "Budget":
            return 0
        return int(self.spec.get("replicas") or 0)

    @property
    def ready(self) -> int:
        """Agents that are ready."""
        return int(self.status.get("readyReplicas") or 0)

    @property
    def autoscaling(self) -> Mapping[str, Any] | None:
        """``spec.autoscaling``; None where the pool has a fixed size."""
        given: Mapping[str, Any] | None = self.spec.get("autoscaling")
        return given

    @property
    def slots(self) -> int:
        """Tasks that the ready agents can work on at a time."""
        return self.ready * int(self._limits.get("maxConcurrentTasks", 5))

    @property
    def _limits(self) -> Mapping[str, Any]:
        return self.spec.get("limits") or {}

    @property
    def budget(self) -> Budget:
        """What it may spend."""
        return Budget(daily=self._limits.get("maxDailyTokens"), per_call=self._limits.get("maxTokensPerCall", 8000))

    @property
    def redis(self) -> str:
        """Name of its Redis connection."""
        return str((self.spec.get("queue") or {}).get("redis", "default"))

    @property
    def is_pinned(self) -> bool:
        """Whether ``spec.replicas`` is a person's number, whatever the operator has said of it so far."""
        annotations = self.object["metadata"].get("annotations") or {}
        replicas = self.spec.get("replicas")
        return replicas is not None and annotations.get(MIRROR) != str(replicas)

    @property
    def stream(self) -> str:
        """Key of its queue's stream, as it stands there."""
        given = (self.spec.get("queue") or {}).get("stream")
        return self.queue.stream if given is None else str(given)

    @cached_property
    def queue(self) -> QueueKeys:
        """Its queue.

        Raises:
            CliError: ``spec.queue.stream`` cannot be a stream's key.
        """
        given = self.spec.get("queue") or {}
        group = given.get("group", DEFAULT_GROUP)
        try:
            if "stream" in given:
                return QueueKeys.for_stream(given["stream"], group)
            return QueueKeys.for_agent(self.namespace, self.name, group)
        except InvalidQueueName as error:
            raise CliError(f"ArkAgent {self.namespace}/{self.name}: {error}") from error

    def check(self) -> None:
        """See to it that it has a queue.

        Raises:
            CliError: see `queue`.
        """
        _ = self.queue

    def condition(self, kind: str) -> Mapping[str, Any] | None:
        """Answer a condition of its status; None where there is none."""
        found: list[Mapping[str, Any]] = self.status.get("conditions") or []
        return next((entry for entry in found if entry["type"] == kind), None)

    def why(self, now: datetime) -> Why:
        """Answer why the pool is as it is: what is wrong first, else who sets its size."""
        return next(self._reasons(now))

    def _reasons(self, now: datetime) -> Iterator[Why]:
        if not self.status:
            yield Why("NotSeen", "No operator has seen it yet: kubectl ark doctor", is_bad=True)
        if self.status.get("observedGeneration", 0) < self.object["metadata"].get("generation", 0):
            yield Why("NotSeen", "The operator has not seen the last change yet.")
        budget, ready, autoscaling = (self.condition(kind) for kind in ("BudgetExceeded", "Ready", "Autoscaling"))
        if self.mode == "Budget":
            message = budget["message"] if budget is not None else "The tokens of 24 hours are used up."
            yield Why("BudgetExceeded", message, is_bad=True)
        if ready is not None and ready["status"] == "False":
            yield Why(ready["reason"], ready["message"], is_bad=ready["reason"] not in ("Progressing", "Creating"))
        if autoscaling is not None and autoscaling["status"] != "True" and autoscaling["reason"] not in _SAID_BY_MODE:
            yield Why(autoscaling["reason"], autoscaling["message"], is_bad=autoscaling["status"] == "False")
        yield from self._usual(now)

    def _usual(self, now: datetime) -> Iterator[Why]:
        pin = self.status.get("pin")
        if pin:
            end = f"for {span((moment(pin['until']) - now).total_seconds())} more" if "until" in pin else "for good"
            yield Why("Pinned", f"pinned to {pin['replicas']} by a person {end}; back: kubectl ark auto {self.name}")
        if self.autoscaling is not None:
            least, most = self.autoscaling.get("minReplicas", 0), self.autoscaling.get("maxReplicas", 10)
            yield Why("FollowsQueue", f"follows the queue, {least} to {most}")
        yield Why("Fixed", "has a fixed size: spec.replicas, no spec.autoscaling")


def span(seconds: float) -> str:
    """Answer a time as people say it, in two units at most: ``43s``, ``2m10s``, ``3h``, ``2d4h``."""
    whole = max(0, round(seconds))
    units = (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1))
    for position, (name, size) in enumerate(units):
        if whole >= size:
            text = f"{whole // size}{name}"
            if position + 1 < len(units):
                below, less = units[position + 1]
                rest = whole % size // less
                text += f"{rest}{below}" if rest else ""
            return text
    return "0s"


def moment(text: str) -> datetime:
    """Answer a time of Kubernetes."""
    return datetime.strptime(text, _TIME).replace(tzinfo=UTC)


def written(time: datetime) -> str:
    """Answer a time as Kubernetes writes it."""
    return time.astimezone(UTC).strftime(_TIME)


async def read_agents(kubectl: Kubectl) -> list[Agent]:
    """Read the agents of the namespace, or of all.

    Raises:
        NotThere, Forbidden, CliError: see `Kubectl.run`.
    """
    everywhere = kubectl.where.everywhere
    path = f"{AGENTS}/arkagents" if everywhere else f"{AGENTS}/namespaces/{await kubectl.namespace()}/arkagents"
    try:
        listed = await kubectl.get(path)
    except NotThere as error:
        raise _no_definition(error) from error
    return sorted(map(Agent, listed["items"]), key=lambda agent: (agent.namespace, agent.name))


async def read_agent(kubectl: Kubectl, name: str) -> Agent:
    """Read one agent; of another namespace where the name is ``<namespace>/<name>``.

    Raises:
        NotThere, Forbidden, CliError: see `Kubectl.run`.
    """
    namespace, slash, short = name.rpartition("/")
    if not slash:
        namespace = await kubectl.namespace()
    if "/" in namespace or not short:
        raise CliError(f"{name!r} is no agent's name: it is <name> or <namespace>/<name>")
    try:
        return Agent(await kubectl.get(f"{AGENTS}/namespaces/{namespace}/arkagents/{short}"))
    except NotThere as error:
        if f'"{short}" not found' in str(error):
            raise NotThere(f"there is no ArkAgent {short} in namespace {namespace}: kubectl ark status -A") from error
        raise _no_definition(error) from error


def _no_definition(error: NotThere) -> CliError:
    return CliError(f"this cluster knows no ArkAgents; is it the right one, and is Ark installed? {error}")
