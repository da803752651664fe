"""ArkAgents as people ask for them. Pure, but for `read_agents` and `read_agent`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from ark_api import agent
from ark_api.moment import moment
from ark_api.names import PLURAL
from ark_api.status import ConditionType, Mode, Reason, condition_of
from ark_cli.errors import CliError, NotThere
from ark_cli.kubectl import AGENTS_API, Kubectl
from ark_taskqueue import Budget, InvalidQueueName, QueueKeys

_ON_THE_WAY = {Reason.PROGRESSING, Reason.CREATING}
_SAID_BY_MODE = {Reason.DISABLED, Reason.PINNED, Reason.BUDGET_EXCEEDED}


@dataclass(frozen=True, slots=True)
class Why:
    """Why a pool is as it is."""

    reason: str
    """In one word."""
    message: str
    """In a sentence, with what to do where something is wrong."""
    is_bad: bool = False
    """Whether somebody should look."""


class Agent(agent.Agent):
    """One ArkAgent."""

    @property
    def mode(self) -> str:
        """Who sets the pool's size; empty where no operator has said so."""
        return str(self.status.get("mode", ""))

    @property
    def wanted(self) -> int:
        """Agents that are wanted now."""
        return 0 if self.mode == Mode.BUDGET else self.replicas or 0

    @property
    def ready(self) -> int:
        """Agents that are ready."""
        return int(self.status.get("readyReplicas") or 0)

    @property
    def slots(self) -> int:
        """Tasks that the ready agents can work on at a time."""
        return self.ready * self.limits.concurrent_tasks

    @property
    def budget(self) -> Budget:
        """What it may spend."""
        return Budget(daily=self.limits.daily_tokens, per_call=self.limits.tokens_per_call)

    @property
    def stream_key(self) -> str:
        """Key of its queue's stream, as it stands there."""
        return self.queue.stream if self.stream is None else self.stream

    @cached_property
    def queue(self) -> QueueKeys:
        """Its queue.

        Raises:
            CliError: ``spec.queue.stream`` cannot be a stream's key.
        """
        try:
            return QueueKeys.for_agent(self.namespace, self.name, self.group, self.stream)
        except InvalidQueueName as error:
            raise CliError(f"ArkAgent {self.namespace}/{self.name}: {error}") from error

    def check(self) -> None:
        """See to it that it has a queue.

        Raises:
            CliError: see `queue`.
        """
        _ = self.queue

    def why(self, now: datetime) -> Why:
        """Return why the pool is as it is: what is wrong first, else who sets its size."""
        return next(self._reasons(now))

    def _reasons(self, now: datetime) -> Iterator[Why]:
        if not self.status:
            yield Why("NotSeen", "No operator has seen it yet: kubectl ark doctor", is_bad=True)
        if self.status.get("observedGeneration", 0) < self.generation:
            yield Why("NotSeen", "The operator has not seen the last change yet.")
        budget, ready, autoscaling = (
            condition_of(self.status, kind)
            for kind in (ConditionType.BUDGET_EXCEEDED, ConditionType.READY, ConditionType.AUTOSCALING)
        )
        if self.mode == Mode.BUDGET:
            message = budget["message"] if budget is not None else "The daily token budget is used up."
            yield Why(Reason.BUDGET_EXCEEDED, message, is_bad=True)
        if ready is not None and ready["status"] == "False":
            yield Why(ready["reason"], ready["message"], is_bad=ready["reason"] not in _ON_THE_WAY)
        if autoscaling is not None and autoscaling["status"] != "True" and autoscaling["reason"] not in _SAID_BY_MODE:
            yield Why(autoscaling["reason"], autoscaling["message"], is_bad=autoscaling["status"] == "False")
        yield from self._usual(now)

    def _usual(self, now: datetime) -> Iterator[Why]:
        pin = self.status.get("pin")
        if pin:
            end = f"{span((moment(pin['until']) - now).total_seconds())} left" if "until" in pin else "no expiry"
            yield Why(
                Reason.PINNED, f"pinned by hand to {pin['replicas']} ({end}); unpin: kubectl ark auto {self.name}"
            )
        if self.autoscaling is not None:
            least, most = self.autoscaling.min_replicas, self.autoscaling.max_replicas
            yield Why(Reason.FOLLOWS_QUEUE, f"follows the queue, {least} to {most}")
        yield Why("Fixed", "has a fixed size: spec.replicas, no spec.autoscaling")


def span(seconds: float) -> str:
    """Return a time as people say it, in two units at most: ``43s``, ``2m10s``, ``3h``, ``2d4h``."""
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


async def read_agents(kubectl: Kubectl) -> list[Agent]:
    """Read the agents of the namespace, or of all.

    Raises:
        NotThere, Forbidden, CliError: see `Kubectl.run`.
    """
    everywhere = kubectl.where.everywhere
    namespace = None if everywhere else await kubectl.namespace()
    try:
        listed = await kubectl.get(_path(namespace))
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
        raise CliError(f"{name!r} is not an agent name: use <name> or <namespace>/<name>")
    try:
        return Agent(await kubectl.get(f"{_path(namespace)}/{short}"))
    except NotThere as error:
        if f'"{short}" not found' in str(error):
            raise NotThere(f"there is no ArkAgent {short} in namespace {namespace}: kubectl ark status -A") from error
        raise _no_definition(error) from error


def _path(namespace: str | None) -> str:
    """Return the API's path of the agents of a namespace, or of all."""
    return f"{AGENTS_API}/{PLURAL}" if namespace is None else f"{AGENTS_API}/namespaces/{namespace}/{PLURAL}"


def _no_definition(error: NotThere) -> CliError:
    return CliError(f"this cluster has no ArkAgent CRD; is it the right cluster, and is Ark installed? {error}")
