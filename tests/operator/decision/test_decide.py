"""The decision: for every state of an agent, what is to be done. No cluster, no clock."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ark_api.names import LAST_APPLIED, MIRROR, OPERATOR, SEEN_APPLY
from ark_api.status import Mode
from ark_kube.objects import Object
from ark_operator.decision.agent import Agent
from ark_operator.decision.decide import decide
from ark_operator.decision.observed import Keda, Observed, Refusal
from ark_operator.decision.plan import Mirror, Plan, Scale
from ark_operator.reconciler import mirror_patch
from ark_taskqueue import TokenUsage
from tests.operator.builders import OPTIONS, agent, depth, its_deployment, its_scaled_object

NOW = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)
EXCEEDED = TokenUsage(600, 400, 0, True, NOW + timedelta(hours=2))
WITHIN = TokenUsage(60, 40, 0, False, None)
BUDGET = {"maxDailyTokens": 10_000}


def decided(of: Agent, observed: Observed | None = None, usage: TokenUsage | None = None, now: datetime = NOW) -> Plan:
    return decide(of, observed or Observed(), usage, now, OPTIONS)


def settled(of: Agent, observed: Observed, usage: TokenUsage | None = None) -> Agent:
    """Return the agent with the status that a decision gave it."""
    status = decided(of, observed, usage).status
    return of if status is None else Agent({**of.object, "status": status})


@pytest.mark.parametrize(
    ("spec", "mirrored", "usage", "mode", "number"),
    [
        ({}, None, None, Mode.STATIC, 1),
        ({"replicas": 3}, None, None, Mode.STATIC, 3),
        ({"replicas": 0}, None, None, Mode.STATIC, 0),
        ({"replicas": 3}, 3, None, Mode.STATIC, 3),
        ({"autoscaling": {}}, None, None, Mode.AUTO, None),
        ({"autoscaling": {}, "replicas": 3}, 3, None, Mode.AUTO, None),
        ({"autoscaling": {}, "replicas": 3}, None, None, Mode.PINNED, 3),
        ({"autoscaling": {}, "replicas": 3}, 4, None, Mode.PINNED, 3),
        ({"autoscaling": {}, "replicas": 0}, None, None, Mode.PINNED, 0),
        ({"autoscaling": {}}, 4, None, Mode.AUTO, None),
        ({"limits": BUDGET, "replicas": 3}, None, EXCEEDED, Mode.BUDGET, 0),
        ({"limits": BUDGET, "autoscaling": {}}, None, EXCEEDED, Mode.BUDGET, 0),
        ({"limits": BUDGET, "autoscaling": {}, "replicas": 3}, None, EXCEEDED, Mode.BUDGET, 0),
        ({"limits": BUDGET, "replicas": 3}, None, WITHIN, Mode.STATIC, 3),
        ({"limits": BUDGET, "replicas": 3}, None, None, Mode.STATIC, 3),
        ({"replicas": 3}, None, EXCEEDED, Mode.STATIC, 3),  # no limit, no budget
    ],
)
def test_who_sets_the_replicas(
    spec: dict[str, Any], mirrored: int | None, usage: TokenUsage | None, mode: Mode, number: int | None
) -> None:
    of = agent(mirrored=mirrored, **spec)
    there = its_deployment(of, 9)
    plan = decided(of, Observed(deployment=there), usage)
    assert plan.mode is mode
    assert plan.scale == (None if number is None else Scale(number))
    assert decided(of, Observed(), usage).create is not None


@pytest.mark.parametrize(
    ("spec", "mirrored", "first"),
    [
        ({}, None, 1),
        ({"replicas": 4}, None, 4),
        ({"autoscaling": {}}, None, 0),
        ({"autoscaling": {"minReplicas": 2}}, None, 2),
        ({"autoscaling": {}, "replicas": 6}, 6, 6),  # it was deleted by hand: it comes back as it was
        ({"autoscaling": {}, "replicas": 6}, None, 6),
    ],
)
def test_a_deployment_begins_with_the_right_number(spec: dict[str, Any], mirrored: int | None, first: int) -> None:
    plan = decided(agent(mirrored=mirrored, **spec))
    assert plan.create is not None
    assert plan.create["spec"]["replicas"] == first


def test_nothing_is_done_where_all_is_as_it_should_be() -> None:
    for of in (agent(replicas=3), agent(autoscaling={}, replicas=3, mirrored=3)):
        scaled = its_scaled_object(of) if of.autoscaling is not None else None
        observed = Observed(deployment=its_deployment(of, 3), scaled_object=scaled)
        again = settled(of, observed)
        plan = decided(again, observed, now=NOW + timedelta(days=1))
        assert plan == Plan(plan.mode)


@pytest.mark.parametrize(
    ("spec", "mirrored", "deployed", "mirror"),
    [
        # At zero the field is empty: a zero in it is a person's.
        ({"autoscaling": {}}, None, 0, None),
        ({"autoscaling": {}, "replicas": 3}, 3, 0, Mirror(3, 0)),
        ({"autoscaling": {}, "replicas": 0}, 0, 0, Mirror(0, 0)),
        ({"autoscaling": {}}, None, 2, Mirror(None, 2)),
        ({"replicas": 0}, 0, 0, Mirror(0, 1)),
        ({"autoscaling": {}, "replicas": 3}, 3, 5, Mirror(3, 5)),
        ({"autoscaling": {}, "replicas": 5}, 5, 5, None),
        ({"autoscaling": {}}, 5, 5, Mirror(None, 5)),
        ({}, None, 1, Mirror(None, 1)),
        ({"replicas": 2}, None, 2, None),
        # A person's number: the operator forgets its own, so that going back to that one is a person's, too.
        ({"autoscaling": {}, "replicas": 5}, 0, 5, Mirror(5, None)),
        ({"autoscaling": {}, "replicas": 5}, None, 5, None),
    ],
)
def test_what_is_written_into_spec_replicas(
    spec: dict[str, Any], mirrored: int | None, deployed: int, mirror: Mirror | None
) -> None:
    of = agent(mirrored=mirrored, **spec)
    assert decided(of, Observed(deployment=its_deployment(of, deployed))).mirror == mirror


@pytest.mark.parametrize(("replicas", "paused"), [(None, False), (5, True)])
def test_keda_is_paused_while_the_number_is_not_its_own(replicas: int | None, paused: bool) -> None:
    spec: dict[str, Any] = {} if replicas is None else {"replicas": replicas}
    of = agent(autoscaling={}, **spec)
    plan = decided(of, Observed(deployment=its_deployment(of, 0)))
    assert plan.autoscale is not None
    assert (plan.autoscale["metadata"]["annotations"].get("autoscaling.keda.sh/paused") == "true") is paused
    there = Observed(deployment=its_deployment(of, 5), scaled_object=its_scaled_object(of, paused=not paused))
    assert decided(of, there).autoscale is not None
    there = replace(there, scaled_object=its_scaled_object(of, paused=paused))
    assert decided(of, there).autoscale is None


def test_a_pin_ends_at_its_time_and_says_when_to_look() -> None:
    of = agent(autoscaling={"pinSeconds": 60}, replicas=5)
    observed = Observed(deployment=its_deployment(of, 5), scaled_object=its_scaled_object(of, paused=True))
    first = decided(of, observed)
    assert (first.mode, first.again_after) == (Mode.PINNED, 60)
    pinned = settled(of, observed)
    later = decided(pinned, observed, now=NOW + timedelta(seconds=45))
    assert (later.mode, later.again_after, later.status) == (Mode.PINNED, 15, None)
    over = decided(pinned, observed, now=NOW + timedelta(seconds=60))
    assert (over.mode, over.mirror) == (Mode.AUTO, Mirror(5, 5))
    assert over.autoscale is not None
    assert [note.reason for note in over.notes] == ["Unpinned"]


@pytest.mark.parametrize(
    ("pin_end", "mirrored", "minutes", "mode", "again_after", "mirror"),
    [
        # It wins over pinSeconds, and ends to the second.
        ("5 until 2026-11-24T12:30:00Z", None, 0, Mode.PINNED, 1800, None),
        ("5 until 2026-11-24T12:30:00Z", None, 30, Mode.AUTO, None, Mirror(5, 5, forget_end=True)),
        # Another number of a person's: pinSeconds, and the annotation goes.
        ("4 until 2026-11-24T12:30:00Z", None, 0, Mode.PINNED, 60, Mirror(5, None, forget_end=True)),
        # Taken back before its time.
        ("5 until 2026-11-24T12:30:00Z", 5, 0, Mode.AUTO, None, Mirror(5, 5, forget_end=True)),
        # What nobody can read is nobody's business.
        ("5 until tomorrow", None, 0, Mode.PINNED, 60, None),
        ("5 until 2026-13-24T12:30:00Z", None, 0, Mode.PINNED, 60, None),
    ],
)
def test_a_pin_ends_when_the_person_said(
    pin_end: str, mirrored: int | None, minutes: int, mode: Mode, again_after: float | None, mirror: Mirror | None
) -> None:
    of = agent(autoscaling={"pinSeconds": 60}, replicas=5, mirrored=mirrored, pin_end=pin_end)
    observed = Observed(deployment=its_deployment(of, 5))
    plan = decided(of, observed, now=NOW + timedelta(minutes=minutes))
    assert (plan.mode, plan.again_after, plan.mirror) == (mode, again_after, mirror)


def test_another_number_starts_the_time_of_a_pin_anew() -> None:
    of = agent(autoscaling={"pinSeconds": 60}, replicas=5)
    pinned = settled(of, Observed())
    other = Agent({**pinned.object, "spec": {**pinned.spec, "replicas": 7}})
    plan = decided(other, now=NOW + timedelta(seconds=50))
    assert (plan.mode, plan.again_after) == (Mode.PINNED, 60)
    assert [note.reason for note in plan.notes] == ["Pinned"]


def test_a_budget_comes_back_at_its_time_and_tells_of_each_change_once() -> None:
    of = agent(limits=BUDGET, replicas=3)
    there = Observed(deployment=its_deployment(of, 3))
    plan = decided(of, there, EXCEEDED)
    assert (plan.scale, plan.again_after) == (Scale(0), 7200)
    assert [(note.type, note.reason) for note in plan.notes] == [("Warning", "DailyLimitReached")]
    assert decided(of, there, EXCEEDED).notes == plan.notes, "said twice, it has the same occasion"
    down = settled(of, there, EXCEEDED)
    at_zero = Observed(deployment=its_deployment(of, 0))
    assert decided(down, at_zero, EXCEEDED).notes == ()
    assert decided(down, at_zero, None).scale is None, "unknown changes nothing"
    assert decided(down, at_zero, None).mode is Mode.BUDGET
    back = decided(down, at_zero, WITHIN)
    assert (back.mode, back.scale, [note.reason for note in back.notes]) == (Mode.STATIC, Scale(3), ["BudgetRestored"])


READY_AT_3: dict[str, Any] = {"autoscaling": {}, "replicas": 3}


def bursting(of: Agent, waiting: int = 48, replicas: int = 3, **changes: Any) -> Observed:
    observed = Observed(
        deployment=its_deployment(of, replicas), scaled_object=its_scaled_object(of), depth=depth(waiting)
    )
    return replace(observed, **changes)


def test_a_burst_raises_the_pool_at_once_with_an_event_and_the_mirror() -> None:
    of = agent(mirrored=3, **READY_AT_3)
    plan = decided(of, bursting(of))
    assert plan.scale == Scale(10, burst=True)
    assert plan.mirror == Mirror(3, 10)
    note = plan.burst_note
    assert note is not None
    assert note.message == "Raised writer-agent from 3 to 10 replicas at once: 48 tasks wait, 0 are in flight."


def annotated(**annotations: str) -> Object:
    """Return the ScaledObject with annotations of a person's."""
    scaled = its_scaled_object(agent(**READY_AT_3))
    added = {f"autoscaling.keda.sh/{name}": value for name, value in annotations.items()}
    metadata = {**scaled["metadata"], "annotations": {**scaled["metadata"]["annotations"], **added}}
    return {**scaled, "metadata": metadata}


@pytest.mark.parametrize(
    "changes",
    [
        {"scaled_object": annotated(**{"paused-replicas": "2"})},
        {"scaled_object": annotated(**{"paused-scale-out": "true"})},
        {"scaled_object": annotated(paused="1")},
        {"scaled_object": annotated(paused="yes")},
        {"depth": None},
        {"depth": depth(9)},
        {"keda": Keda(installed=False)},
        {"keda": Keda(down="gone")},
        {"scaled_object": None},
        {"others": ("HorizontalPodAutoscaler x",)},
        {"scaled_object": its_scaled_object(agent(**READY_AT_3), ready="False")},
        {"scaled_object": its_scaled_object(agent(**READY_AT_3), ready=None)},
        {"scaled_object": its_scaled_object(agent(**READY_AT_3), paused=True)},
    ],
)
def test_there_is_no_burst_where_keda_would_not_scale(changes: dict[str, Any]) -> None:
    of = agent(mirrored=3, **READY_AT_3)
    assert decided(of, bursting(of, **changes)).scale is None


@pytest.mark.parametrize(
    ("keda", "scaled", "others", "refusals", "status", "reason"),
    [
        (Keda(), "ready", (), {}, "True", "FollowsQueue"),
        (Keda(), None, (), {}, "Unknown", "Pending"),
        (Keda(), "unready", (), {}, "False", "ScaledObjectNotReady"),
        (Keda(), "paused", (), {}, "False", "PausedByHand"),
        (Keda(), "theirs", (), {}, "False", "NameTaken"),
        (Keda(installed=False), None, (), {}, "False", "KedaMissing"),
        (Keda(down="KEDA's operator is gone"), "ready", (), {}, "False", "KedaDown"),
        (Keda(), None, ("ScaledObject x",), {}, "False", "Conflict"),
        (Keda(), None, (), {"ScaledObject": Refusal("denied the request")}, "False", "ScaledObjectRefused"),
    ],
)
def test_the_autoscaling_condition_says_who_is_in_the_way(
    keda: Keda, scaled: str | None, others: tuple[str, ...], refusals: dict[str, Refusal], status: str, reason: str
) -> None:
    of = agent(autoscaling={}, replicas=3, mirrored=3)
    objects: dict[str | None, Object | None] = {
        None: None,
        "ready": its_scaled_object(of),
        "unready": its_scaled_object(of, ready="False", message="why"),
        "paused": its_scaled_object(of, paused=True),
        "theirs": {**its_scaled_object(of), "metadata": {"name": "writer", "uid": "x", "annotations": {}}},
    }
    observed = Observed(its_deployment(of, 3), objects[scaled], others, keda, refusals=refusals)
    content = decided(of, observed).status
    assert content is not None
    [condition] = [entry for entry in content["conditions"] if entry["type"] == "Autoscaling"]
    assert (condition["status"], condition["reason"]) == (status, reason)
    assert len(condition["message"]) > 20


def test_a_condition_keeps_its_time_while_its_status_does_not_change() -> None:
    of = agent(replicas=3)
    before = settled(of, Observed(deployment=its_deployment(of, 3, readyReplicas=1)))
    status = decided(before, Observed(deployment=its_deployment(of, 3, readyReplicas=2)), now=NOW + timedelta(1)).status
    assert status is not None
    assert status["conditions"][0]["message"] == "2 of 3 agents are ready."
    assert status["conditions"][0]["lastTransitionTime"] == "2026-11-24T12:00:00Z"
    status = decided(before, Observed(deployment=its_deployment(of, 3)), now=NOW + timedelta(1)).status
    assert status is not None
    assert status["conditions"][0]["lastTransitionTime"] == "2026-11-25T12:00:00Z"


@pytest.mark.parametrize("value", ["false", "0", "F"])
def test_an_annotation_that_pauses_nothing_pauses_nothing(value: str) -> None:
    of = agent(mirrored=3, **READY_AT_3)
    assert decided(of, bursting(of, scaled_object=annotated(paused=value))).scale == Scale(10, burst=True)


def test_a_deployment_of_somebody_else_gets_no_scaled_object() -> None:
    """KEDA would take it to zero: the queue is empty."""
    of = agent(autoscaling={"minReplicas": 1})
    theirs = its_deployment(of, 5)
    theirs["metadata"]["ownerReferences"] = []
    for observed in (
        Observed(deployment=theirs),
        Observed(refusals={"Deployment": Refusal("taken", taken=True)}),
        Observed(),  # nobody knows yet whose the name is
    ):
        plan = decided(of, observed)
        assert plan.autoscale is None
        assert plan.scale is None
        assert (plan.mirror is None) is (observed.deployment is not None or bool(observed.refusals))
    plan = decided(of, Observed(deployment=theirs, scaled_object=its_scaled_object(of)))
    assert plan.stop_autoscaling == "s1"
    assert plan.status is not None
    assert plan.status["replicas"] == 0, "their replicas are not the agent's"


def test_after_a_budget_the_pool_is_given_back_where_keda_cannot() -> None:
    of = agent(autoscaling={}, limits=BUDGET, replicas=5, mirrored=5)
    down = settled(of, Observed(deployment=its_deployment(of, 5)), EXCEEDED)
    at_zero = Observed(deployment=its_deployment(of, 0), keda=Keda(installed=False))
    plan = decided(down, at_zero, WITHIN)
    assert (plan.mode, plan.scale, plan.mirror) == (Mode.AUTO, Scale(5), None)
    for paused in (True, False):
        working = replace(at_zero, keda=Keda(), scaled_object=its_scaled_object(of, paused=paused))
        assert decided(down, working, WITHIN).scale is None, "the queue says what the pool needs now, and KEDA asks it"


def test_a_pin_ends_though_no_deployment_can_be_made() -> None:
    of = agent(autoscaling={"pinSeconds": 60}, replicas=5, template={"spec": {"containers": "x"}})
    over = decided(settled(of, Observed()), now=NOW + timedelta(seconds=60))
    assert (over.mode, over.mirror) == (Mode.AUTO, Mirror(5, 5))


def test_a_template_may_not_make_a_decision_raise() -> None:
    agents: list[Any] = [
        {"spec": {"containers": [{"$patch": "replace", "name": "agent", "image": "x", "env": [{"value": "a"}]}]}},
        {"spec": {"containers": [{"name": "agent", "env": [{"name": {"a": 1}}]}]}},
        {"metadata": {"$patch": "replace", "labels": "x"}},
        {"spec": {"$patch": "replace", "terminationGracePeriodSeconds": 500, "containers": ["a"]}},
        {"spec": {"$patch": "replace", "terminationGracePeriodSeconds": 500}},
        {"spec": {"terminationGracePeriodSeconds": True}},
        {"metadata": None},
        {"spec": {"containers": [{"name": "agent", "$patch": "delete"}]}},
    ]
    for template in agents:
        status = decided(agent(template=template)).status
        assert status is not None
        assert status["conditions"][0]["reason"] == "InvalidTemplate", template
        assert "spec.template" in status["conditions"][0]["message"]
    assert agent().mirrored is None
    assert Agent({**agent().object, "metadata": {"annotations": {MIRROR: "9" * 5000}}}).mirrored is None


def test_what_is_refused_is_not_written_again_in_the_same_reconcile() -> None:
    of = agent(autoscaling={}, template={"spec": {"nodeSelector": []}})
    refusals = {"Deployment": Refusal("spec.nodeSelector: no"), "ScaledObject": Refusal("denied")}
    plan = decided(of, Observed(refusals=refusals))
    assert not plan.changes_children
    assert plan.status is not None


def test_a_scaled_object_that_is_going_is_waited_for() -> None:
    of = agent(autoscaling={})
    going = its_scaled_object(of)
    going["metadata"]["deletionTimestamp"] = "2026-11-24T11:00:00Z"
    going["spec"]["maxReplicaCount"] = 99
    assert decided(of, Observed(its_deployment(of, 0), going)).autoscale is None
    static = agent()
    assert decided(static, Observed(its_deployment(static, 1), going)).stop_autoscaling is None


def test_a_pool_that_was_at_zero_when_autoscaling_was_removed_has_one_agent() -> None:
    """It stayed at zero for ever: the operator's own zero was taken for a person's."""
    was_idle = agent(mirrored=0, replicas=0)
    plan = decided(was_idle, Observed(deployment=its_deployment(was_idle, 0)))
    assert (plan.mode, plan.scale, plan.mirror) == (Mode.STATIC, Scale(1), Mirror(0, 1))
    ran = agent(mirrored=4, replicas=4)
    assert decided(ran, Observed(deployment=its_deployment(ran, 4))).scale is None, "a pool that ran keeps its size"
    drained = agent(replicas=0)
    assert decided(drained, Observed(deployment=its_deployment(drained, 0))).scale is None, "a person's zero is meant"


def test_a_persons_number_in_static_is_theirs_though_they_come_back_to_the_operators() -> None:
    raised = agent(mirrored=1, replicas=5)
    assert decided(raised, Observed(deployment=its_deployment(raised, 5))).mirror == Mirror(5, None)
    operators = agent(mirrored=1, replicas=1)
    assert decided(operators, Observed(deployment=its_deployment(operators, 1))).mirror is None


def applied(number: int | None, *, seen: str | None = None, legacy: bool = False, **metadata: Any) -> Agent:
    """Return an agent at 4 replicas, mirrored, with a manifest that kubectl has applied."""
    made = agent(autoscaling={}, replicas=4, mirrored=4).object
    spec = {} if number is None else {"replicas": number}
    annotations = {**made["metadata"]["annotations"], LAST_APPLIED: json.dumps({"spec": spec})}
    if seen is not None:
        annotations[SEEN_APPLY] = seen
    if legacy:
        del annotations[SEEN_APPLY]
    return Agent({**made, "metadata": {**made["metadata"], "annotations": annotations, **metadata}})


def managed(manager: str, operation: str = "Apply", field: str = "f:replicas", time: str = "then") -> dict[str, Any]:
    fields: dict[str, Any] = {"f:spec": {field: {}}}
    return {"managedFields": [{"manager": manager, "operation": operation, "time": time, "fieldsV1": fields}]}


@pytest.mark.parametrize(
    ("of", "number"),
    [
        (applied(None), None),
        (applied(4), 4),
        (applied(4, seen=""), 4),
        (applied(4, legacy=True), None),  # an earlier version's mirror: nobody knows which came first
        (applied(5), None),
        (applied(5, seen="an earlier manifest's"), None),
        (applied(4, seen=applied(4).applied_digest), None),
        (applied(4, seen="an earlier manifest's"), 4),
        (applied(None, **managed("argocd")), 4),
        (applied(None, **managed("argocd", field="f:model")), None),
        (applied(None, **managed("kubectl-edit", "Update")), None),
        (applied(None, **managed("ark-operator")), None),
        (applied(None, seen=applied(None, **managed("argocd")).seen_apply, **managed("argocd")), None),
        (applied(None, seen=applied(None, **managed("argocd")).seen_apply, **managed("flux")), 4),
        (applied(None, seen=applied(None, **managed("argocd")).seen_apply, **managed("argocd", time="later")), 4),
    ],
)
def test_a_manifest_that_says_the_pools_own_number_pins_it(of: Agent, number: int | None) -> None:
    assert of.persons_number == number
    plan = decided(of, Observed(deployment=its_deployment(of, 4)))
    assert plan.mode is (Mode.AUTO if number is None else Mode.PINNED)


def test_a_manifest_that_was_applied_before_the_mirror_is_remembered() -> None:
    of = applied(7)
    patch = mirror_patch(of, Mirror(4, 7))
    assert {"op": "add", "path": "/metadata/annotations/arkonis.dev~1seen-apply", "value": of.applied_digest} in patch
    assert {"op": "add", "path": "/spec/replicas", "value": 7} in patch


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"spec": 3}', '{"spec": {"replicas": "x"}}', '{"spec": {"replicas": true}}']
)
def test_whatever_the_annotation_holds_is_no_number(text: str) -> None:
    made = agent(autoscaling={}, replicas=4, mirrored=4).object
    annotations = {**made["metadata"]["annotations"], LAST_APPLIED: text}
    assert Agent({**made, "metadata": {**made["metadata"], "annotations": annotations}}).persons_number is None


def owned_by(operator: str, of: Agent) -> Object:
    made = its_deployment(of, 3)
    return {**made, "metadata": {**made["metadata"], "annotations": {OPERATOR: operator}}}


def test_an_agent_that_another_operator_looks_after_is_left_alone_with_a_condition() -> None:
    """Two operators of two releases took a Deployment's generation from 1 to 111 in 30 s."""
    ours = replace(OPTIONS, identity="ark-system/ark-operator")
    since = {"reason": "AllReplicasReady", "lastTransitionTime": "2026-11-24T00:00:00Z"}
    status = {"mode": "Static", "conditions": [{"type": "Ready", "status": "True", "message": "", **since}]}
    of = agent(replicas=5, status=status)
    plan = decide(of, Observed(deployment=owned_by("other/ark-operator", of)), None, NOW, ours)
    assert plan == Plan(Mode.STATIC, yields=plan.yields)
    assert plan.yields is not None
    assert "other/ark-operator manages this agent" in plan.yields["message"]
    again = agent(replicas=5, status={**status, "conditions": [*status["conditions"], plan.yields]})
    assert decide(again, Observed(deployment=owned_by("other/ark-operator", of)), None, NOW, ours).yields is None
    # The other one keeps the condition for a while, and drops it when nobody says it again.
    theirs = replace(OPTIONS, identity="other/ark-operator")
    for minutes, kept in ((5, True), (31, False)):
        now = NOW + timedelta(minutes=minutes)
        content = decide(again, Observed(deployment=owned_by("other/ark-operator", of)), None, now, theirs).status
        assert content is not None
        assert any(entry["type"] == "OperatorConflict" for entry in content["conditions"]) is kept


@pytest.mark.parametrize("operator", ["", "ark-system/ark-operator"])
def test_a_deployment_of_its_own_or_of_an_operator_without_a_name_is_taken_on(operator: str) -> None:
    ours = replace(OPTIONS, identity="ark-system/ark-operator")
    of = agent(replicas=5)
    plan = decide(of, Observed(deployment=owned_by(operator, of)), None, NOW, ours)
    assert plan.yields is None
    assert plan.apply is not None
    assert plan.apply["metadata"]["annotations"][OPERATOR] == "ark-system/ark-operator"


@pytest.mark.parametrize(
    ("containers", "told"),
    [
        ([{"name": "agent", "env": [{"name": "agent_daily_token_limit", "value": "0"}]}], "agent_daily_token_limit"),
        ([{"name": "agent", "args": ["--daily-token-limit", "0"]}], "--daily-token-limit"),
        ([{"name": "agent", "args": ["--daily_token_limit=0"]}], "--daily-token-limit"),
        ([{"name": "agent", "args": ["--daily-tok=0"]}], "--daily-token-limit"),
        ([{"name": "agent", "command": ["sh", "-c", "ark-agent --queue a/b"]}], "--queue"),
        ([{"name": "second", "command": ["ark-agent"], "env": []}], "AGENT_DAILY_TOKEN_LIMIT"),
    ],
)
def test_a_template_does_not_get_round_the_limits(containers: list[Any], told: str) -> None:
    of = agent(template={"spec": {"containers": containers}}, limits={"maxDailyTokens": 100_000})
    status = decided(of).status
    assert status is not None
    ready = status["conditions"][0]
    assert (ready["reason"], told in ready["message"]) == ("InvalidTemplate", True), ready["message"]


def test_a_template_may_have_containers_of_its_own_with_flags_of_the_same_names() -> None:
    sidecar = {"name": "proxy", "image": "x", "args": ["--queue=5"], "env": [{"name": "AGENT_QUEUE", "value": "x"}]}
    of = agent(template={"spec": {"containers": [sidecar]}})
    assert decided(of).create is not None
