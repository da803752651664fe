"""The operator's decision: a pure function of an agent, of what is observed, of its token usage and of the time.

Contract C4 in one place: a person's number (``ArkAgent.spec.replicas``) and the autoscaler's (the Deployment's
``/scale``) never share a field.

| ArkAgent | mode | who sets the Deployment's replicas |
|---|---|---|
| budget exceeded | Budget | operator: 0, ScaledObject paused; ``spec.replicas`` untouched |
| no ``spec.autoscaling`` | Static | operator: ``spec.replicas``, 1 where absent |
| ``spec.autoscaling``, no person's number | Auto | KEDA and the HPA; the operator on a burst |
| ``spec.autoscaling`` and a person's number | Pinned | operator: that number, ScaledObject paused |
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from ark_api.agent import Autoscaling
from ark_api.names import OPERATOR, SEEN_APPLY
from ark_api.status import ConditionType, Mode, Reason, condition_of
from ark_kube.objects import Object
from ark_operator.decision import deployment, scaled_object, sizing, status
from ark_operator.decision.agent import Agent
from ark_operator.decision.assessment import Assessment, Pin, Problem
from ark_operator.decision.burst import burst_replicas
from ark_operator.decision.matches import matches
from ark_operator.decision.notes import burst_note, notes_of, sizing_notes
from ark_operator.decision.observed import Observed
from ark_operator.decision.options import Options
from ark_operator.decision.plan import Mirror, Plan, Scale
from ark_operator.decision.previous import pin_of
from ark_operator.decision.template import InvalidTemplate
from ark_taskqueue.errors import InvalidQueueName
from ark_taskqueue.ledger.budget import TokenUsage

_DEFAULT_STATIC = 1


def decide(agent: Agent, observed: Observed, usage: TokenUsage | None, now: datetime, options: Options) -> Plan:
    """Return what is to be done.

    Args:
        agent: what is wanted, and what was reported last.
        observed: what is there.
        usage: tokens of the last 24 hours; None where they are unknown, which changes nothing.
        now: UTC.
        options: the operator's settings.
    """
    owner = _other_operator(agent, observed, options)
    if owner is not None:
        was = agent.status.get("mode", Mode.STATIC)
        return Plan(Mode(was), yields=status.yields(agent, owner, options.identity, now))
    pin = _pin(agent, now)
    expired = pin is not None and pin.until is not None and pin.until <= now
    if expired:
        pin = None
    mode = _mode(agent, pin, usage)
    number = _number(agent, mode, pin)
    wanted, problem = _wanted(agent, observed, options)
    plan = Plan(mode, again_after=_again_after(pin, mode, usage, now))
    if problem is not None and problem.reason == Reason.NAME_TAKEN:
        # Whoever owns that Deployment must find it as it is: no number, and above all no ScaledObject.
        plan = _without_autoscaling(plan, agent, observed)
    else:
        plan = _with_deployment(plan, agent, observed, wanted, number)
        plan = _with_autoscaling(plan, agent, observed, options)
        plan = replace(plan, mirror=_mirror(plan, agent, observed, pin, expired=expired))
    found = Assessment(mode, pin, problem, observed, usage)
    content = status.build(agent, found, now)
    changed = content if content != dict(agent.status) else None
    sized_anew = tuple(sizing_notes(agent, content))
    deferred = sizing.deferred_seconds(agent, observed, now)
    # The ScaledObject follows the status, once that is written.
    moments = [0.0 if sized_anew else None, deferred, plan.again_after]
    return replace(
        plan,
        status=changed,
        notes=(*notes_of(agent, found), *sized_anew),
        burst_note=burst_note(agent, observed, plan.scale),
        again_after=min((moment for moment in moments if moment is not None), default=None),
    )


def _other_operator(agent: Agent, observed: Observed, options: Options) -> str | None:
    """Return the operator that writes this agent's Deployment, where it is another one; two would never end."""
    existing = observed.deployment
    if existing is None or not agent.owns(existing) or not options.identity:
        return None
    owner = (existing["metadata"].get("annotations") or {}).get(OPERATOR)
    return owner if owner and owner != options.identity else None


def _pin(agent: Agent, now: datetime) -> Pin | None:
    """Return the person's number, since when, and until when it holds."""
    number = agent.persons_number
    if agent.autoscaling is None or number is None:
        return None
    known = pin_of(agent.status)
    since = known.since if known is not None and known.replicas == number else now
    end, seconds = agent.pin_end, agent.autoscaling.pin_seconds
    if end is not None and end.replicas == number:
        return Pin(number, since, end.until)
    return Pin(number, since, None if seconds is None else since + timedelta(seconds=seconds))


def _mode(agent: Agent, pin: Pin | None, usage: TokenUsage | None) -> Mode:
    if agent.limits.daily_tokens is not None:
        was = agent.status.get("mode") == Mode.BUDGET
        if usage.exceeded if usage is not None else was:
            return Mode.BUDGET
    if agent.autoscaling is None:
        return Mode.STATIC
    return Mode.AUTO if pin is None else Mode.PINNED


def _number(agent: Agent, mode: Mode, pin: Pin | None) -> int | None:
    """Return the number of replicas that the operator sets; None where KEDA does."""
    if mode is Mode.BUDGET:
        return 0
    if mode is Mode.STATIC:
        # A number that KEDA's pool had when autoscaling was removed is kept, but a zero of its would be for ever.
        idle = agent.replicas is None or (agent.replicas == 0 and agent.persons_number is None)
        return _DEFAULT_STATIC if idle else agent.replicas
    return None if pin is None else pin.replicas


def _wanted(agent: Agent, observed: Observed, options: Options) -> tuple[Object | None, Problem | None]:
    """Return the Deployment as it should be, or why there can be none."""
    problem = _in_the_way(agent, observed, options)
    if problem is not None:
        return None, problem
    try:
        return deployment.build(agent, options), None
    except InvalidTemplate as error:
        return None, Problem(Reason.INVALID_TEMPLATE, str(error))
    except InvalidQueueName as error:
        return None, Problem(Reason.INVALID_QUEUE, f"spec.queue: {error}")


def _in_the_way(agent: Agent, observed: Observed, options: Options) -> Problem | None:
    """Return what keeps any Deployment from being made."""
    if observed.deployment is not None and not agent.owns(observed.deployment):
        return name_taken(agent, observed.deployment)
    refusal = observed.refusals.get("Deployment")
    if refusal is not None and refusal.taken:
        return Problem(Reason.NAME_TAKEN, refusal.message)
    if refusal is not None:
        return Problem(Reason.DEPLOYMENT_REFUSED, f"The API server refuses the Deployment: {refusal.message}")
    if agent.redis not in options.connections:
        known = ", ".join(sorted(options.connections))
        return Problem(Reason.UNKNOWN_REDIS, f"spec.queue.redis {agent.redis!r} is unknown; use one of: {known}")
    return None


def name_taken(agent: Agent, existing: Object) -> Problem:
    """Return what is wrong where the Deployment of the agent's name is not the agent's."""
    owned_by = "another" if existing["metadata"].get("ownerReferences") else "no"
    message = (
        f"Deployment {agent.deployment_name} already exists and has {owned_by} owner: delete or rename it, "
        "or rename this agent"
    )
    return Problem(Reason.NAME_TAKEN, message)


def _with_deployment(plan: Plan, agent: Agent, observed: Observed, wanted: Object | None, number: int | None) -> Plan:
    existing = observed.deployment
    if existing is None:
        if wanted is None:
            return plan
        replicas = _first_number(agent) if number is None else number
        return replace(plan, create={**wanted, "spec": {**wanted["spec"], "replicas": replicas}})
    if wanted is not None and "Deployment" not in observed.applied and not matches(existing, wanted):
        plan = replace(plan, apply=wanted)
    return replace(plan, scale=_scale(plan.mode, agent, observed, existing, number))


def _first_number(agent: Agent) -> int:
    """Return what an autoscaled Deployment begins with: the number it had, where it was deleted by hand."""
    least = agent.autoscaling.min_replicas if agent.autoscaling is not None else _DEFAULT_STATIC
    return least if agent.replicas is None else agent.replicas


def _scale(mode: Mode, agent: Agent, observed: Observed, existing: Object, number: int | None) -> Scale | None:
    replicas = _replicas(existing)
    if number is not None:
        # Two that set one number for ever help nobody; but a budget holds whoever else scales.
        contested = observed.others and mode is not Mode.BUDGET
        return None if replicas == number or contested else Scale(number)
    if agent.autoscaling is None:
        return None
    if not observed.keda.installed or observed.keda.down:
        return _restored(agent, replicas)
    if observed.depth is None or not _keda_scales(agent, observed):
        return None
    raised = burst_replicas(agent, observed.depth, replicas, int(_status(existing).get("replicas") or 0))
    return None if raised is None else Scale(raised, burst=True)


def _restored(agent: Agent, replicas: int) -> Scale | None:
    """Give the pool back what it had before its budget was used up, where there is no KEDA that would."""
    back = agent.status.get("mode") == Mode.BUDGET and replicas == 0
    return Scale(agent.replicas) if back and agent.replicas else None


def _keda_scales(agent: Agent, observed: Observed) -> bool:
    """Return whether KEDA, where it runs, is at work on this agent: a burst is what it would do a little later."""
    scaled = observed.scaled_object
    if scaled is None or not agent.owns(scaled) or observed.others:
        return False
    if scaled_object.blocks_scale_out(scaled):
        return False
    ready = condition_of(_status(scaled), ConditionType.READY)
    return ready is not None and ready.get("status") == "True"


def _with_autoscaling(plan: Plan, agent: Agent, observed: Observed, options: Options) -> Plan:
    existing = observed.scaled_object
    if existing is not None and "deletionTimestamp" in existing["metadata"]:
        return plan  # its end is seen by the watch
    ours = existing is not None and agent.owns(existing)
    if agent.autoscaling is None:
        return _without_autoscaling(plan, agent, observed)
    # Only for a Deployment that is known to be ours: one that is about to be made may turn out to be somebody else's.
    target = observed.deployment is not None and agent.owns(observed.deployment)
    done = "ScaledObject" in observed.refusals or "ScaledObject" in observed.applied
    blocked = not observed.keda.installed or observed.others or done
    if blocked or not target or (existing is not None and not ours):
        return plan
    wanted = _scaled_object(plan.mode, agent, agent.autoscaling, options)
    if wanted is None or matches(existing, wanted):
        return plan
    return replace(plan, autoscale=wanted)


def _without_autoscaling(plan: Plan, agent: Agent, observed: Observed) -> Plan:
    existing = observed.scaled_object
    if existing is None or not agent.owns(existing) or "deletionTimestamp" in existing["metadata"]:
        return plan
    return replace(plan, stop_autoscaling=existing["metadata"]["uid"])


def _scaled_object(mode: Mode, agent: Agent, autoscaling: Autoscaling, options: Options) -> Object | None:
    try:
        return scaled_object.build(agent, autoscaling, options, paused=mode in (Mode.PINNED, Mode.BUDGET))
    except InvalidQueueName:
        return None  # the Ready condition says so


def _mirror(plan: Plan, agent: Agent, observed: Observed, pin: Pin | None, *, expired: bool) -> Mirror | None:
    """Mirror the pool's number into ``spec.replicas``: GET ``/scale`` of a custom resource fails while it is absent.

    But for a pool at zero, which has no number there: else `kubectl scale --replicas=0` would change nothing, and could
    not be told from no word at all (ADR 12).
    """
    over = agent.pin_end is not None and (pin is None or agent.pin_end.replicas != pin.replicas)
    if pin is not None:
        # Else a person who goes from 5 to the number that the operator wrote before would not be pinned to it.
        return Mirror(agent.replicas, None, forget_end=over) if over or agent.mirrored is not None else None
    if plan.mode is Mode.STATIC:
        if agent.replicas is None or (agent.replicas == 0 and agent.persons_number is None):
            return Mirror(agent.replicas, _DEFAULT_STATIC)
        # Else a person who comes back to the operator's number would not be pinned to it once autoscaling is set.
        persons = agent.persons_number is not None and agent.mirrored is not None
        return Mirror(agent.replicas, None) if persons else None
    if plan.mode is not Mode.AUTO:
        # A pin whose time is over while the budget is exceeded is taken back all the same.
        return Mirror(agent.replicas, 0, forget_end=over) if expired else None
    replicas = _expected(plan, observed)
    if replicas is None and expired:
        replicas = agent.replicas  # no Deployment can be made, but the person's number is taken back all the same
    written = replicas or None
    # A mirror of an earlier version's does not say which manifest it has seen.
    complete = written is None or SEEN_APPLY in agent.annotations
    if replicas is None or (agent.replicas == written and agent.mirrored == written and complete and not over):
        return None
    return Mirror(agent.replicas, replicas, forget_end=over)


def _expected(plan: Plan, observed: Observed) -> int | None:
    """Return the Deployment's number once the plan is carried out."""
    if plan.scale is not None:
        return plan.scale.replicas
    if plan.create is not None:
        return int(plan.create["spec"]["replicas"])
    return None if observed.deployment is None else _replicas(observed.deployment)


def _again_after(pin: Pin | None, mode: Mode, usage: TokenUsage | None, now: datetime) -> float | None:
    moments = [pin.until] if pin is not None and pin.until is not None else []
    if mode is Mode.BUDGET and usage is not None and usage.restored_at is not None and usage.restored_at > now:
        moments.append(usage.restored_at)
    return min(((moment - now).total_seconds() for moment in moments), default=None)


def _replicas(item: Mapping[str, Any]) -> int:
    value = (item.get("spec") or {}).get("replicas")
    return 1 if value is None else int(value)


def _status(item: Mapping[str, Any]) -> Mapping[str, Any]:
    return item.get("status") or {}
