"""The events that go with a decision.

They are told from the difference between the status that was written last and the one that is about to be, so a
restarted operator neither repeats nor forgets one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ark_api.moment import written
from ark_api.status import ConditionType, EventReason, Mode, condition_of
from ark_operator.decision.agent import Agent
from ark_operator.decision.assessment import Assessment
from ark_operator.decision.messages import budget_message, pin_message, restored_message
from ark_operator.decision.observed import Observed
from ark_operator.decision.plan import Note, Scale
from ark_operator.decision.previous import pin_of
from ark_sizing.in_force import chosen_setting, setting_of
from ark_sizing.setting import described


def notes_of(agent: Agent, found: Assessment) -> Iterator[Note]:
    """Yield the events that the change from the last status is worth."""
    before = agent.status
    was, was_pinned = before.get("mode"), pin_of(before)
    budget = condition_of(before, ConditionType.BUDGET_EXCEEDED) or {}
    since = str(budget.get("lastTransitionTime", "first"))
    if found.mode is Mode.BUDGET and was != Mode.BUDGET:
        yield Note(
            "Warning",
            EventReason.DAILY_LIMIT_REACHED,
            budget_message(agent, found.usage),
            f"{since}, {agent.generation}",
        )
    if found.mode is not Mode.BUDGET and was == Mode.BUDGET:
        message = f"{restored_message(agent, found.usage)} The pool is back in mode {found.mode}."
        yield Note("Normal", EventReason.BUDGET_RESTORED, message, f"{since}, {agent.generation}")
    pin = found.pin
    if pin is not None and (was_pinned is None or was_pinned.replicas != pin.replicas):
        yield Note("Normal", EventReason.PINNED, pin_message(agent, pin), f"{agent.generation}")
    if pin is None and was_pinned is not None:
        message = f"The pool is no longer pinned to {was_pinned.replicas} replicas; its mode is now {found.mode}."
        yield Note("Normal", EventReason.UNPINNED, message, written(was_pinned.since))


def burst_note(agent: Agent, observed: Observed, scale: Scale | None) -> Note | None:
    """Return the event of a burst; None where deployment is none."""
    deployment, depth = observed.deployment, observed.depth
    if scale is None or not scale.burst or deployment is None or depth is None:
        return None
    message = (
        f"Raised {agent.deployment_name} from {deployment['spec']['replicas']} to {scale.replicas} replicas at once: "
        f"{depth.waiting} tasks wait, {depth.in_flight} are in flight."
    )
    return Note("Normal", EventReason.SCALED_BURST, message, str(deployment["metadata"]["resourceVersion"]))


def sizing_notes(agent: Agent, content: Mapping[str, Any]) -> Iterator[Note]:
    """Yield the event of a sizing that the operator has chosen, or given up, in a new status."""
    told = Agent({**agent.object, "status": content})
    if chosen_setting(agent) == chosen_setting(told):
        return
    now = content["sizing"]
    message = f"The pool is now sized with {described(setting_of(told))}. {now['message']}"
    if "expectedWaitSeconds" in now:
        message += (
            f" On the record, 95 % of the tasks would have waited {now['expectedWaitSeconds']:g} s at most, "
            f"with {now['expectedReplicas']:g} replicas on average."
        )
    yield Note("Normal", EventReason.SIZING_CHANGED, message, str(now["since"]))
