"""Contract C4 on a real API server: a person's number and the autoscaler's never share a field."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ark_api.names import MIRROR, PIN_END
from ark_operator.cluster.kinds import ARK_AGENTS
from ark_operator.decision.agent import Agent
from ark_operator.decision.plan import Mirror
from ark_operator.decision.scaled_object import PAUSED
from ark_operator.reconciler import mirror_patch
from ark_taskqueue import TokenUsage
from hack.cluster.api import ApiError
from tests.cluster.operator.operating import WITHIN, World, agent, exceeded, operating
from tests.eventually import eventually

LIMITED: dict[str, Any] = {"limits": {"maxDailyTokens": 10_000}}


async def paused(here: World) -> bool:
    scaled = await here.scaled_object()
    return bool(scaled["metadata"].get("annotations", {}).get(PAUSED) == "true")


async def kubectl(here: World, *arguments: str, stdin: str | None = None) -> str:
    return await asyncio.to_thread(here.control_plane.kubectl.run, *arguments, "-n", here.namespace, stdin=stdin)


async def test_in_auto_mode_the_deployments_number_is_mirrored(here: World) -> None:
    async with operating(here):
        await here.make(agent(autoscaling={}))
        await here.mirror(0)
        await here.mode("Auto")
        for number in (1, 12, 3):
            await here.scale_deployment(number)
            await here.mirror(number)
        scale = await here.api.get(ARK_AGENTS.path(here.namespace, "writer", "scale"))
        assert scale["spec"]["replicas"] == 3, "GET /scale would fail without the mirror"
        assert scale["status"]["selector"]
        await here.scale_deployment(0)
        await here.mirror(0)
        assert not await paused(here)
        assert (await here.deployment())["spec"]["replicas"] == 0
        assert await here.events("Pinned") == []


async def test_a_zero_pins_an_idle_pool(here: World) -> None:
    """`kubectl scale --replicas=0` on an idle pool changed nothing, and 12 tasks later 4 replicas ran."""
    async with operating(here):
        for name in ("scaled", "patched", "applied", "by-server"):
            await here.make(agent(name, autoscaling={}))
            await here.mirror(0, name)
        await kubectl(here, "scale", "arkagent", "scaled", "--replicas=0")
        await kubectl(here, "patch", "arkagent", "patched", "--type=merge", "-p", '{"spec": {"replicas": 0}}')
        for name, further in (("applied", ()), ("by-server", ("--server-side", "--force-conflicts"))):
            item = agent(name, autoscaling={}, replicas=0)
            item["metadata"]["namespace"] = here.namespace
            await kubectl(here, "apply", *further, "-f", "-", stdin=json.dumps(item))
        for name in ("scaled", "patched", "applied", "by-server"):
            await here.mode("Pinned", name)
            await here.scale_deployment(1, name)  # KEDA, in the moment before it is paused
            await here.replicas(0, name)


async def test_a_manifest_with_the_pools_own_number_pins_it(here: World) -> None:
    async with operating(here):
        for name, further in (("applied", ()), ("by-server", ("--server-side", "--force-conflicts"))):
            item = agent(name, autoscaling={})
            item["metadata"]["namespace"] = here.namespace
            await kubectl(here, "apply", *further, "-f", "-", stdin=json.dumps(item))
            await here.mirror(0, name)
            await here.scale_deployment(3, name)
            await here.mirror(3, name)
            item["spec"]["replicas"] = 3
            await kubectl(here, "apply", *further, "-f", "-", stdin=json.dumps(item))
            await here.mode("Pinned", name)
            # Taken back, the manifest of before is no word of today: the pool may come by that number again.
            await kubectl(here, "patch", "arkagent", name, "--type=merge", "-p", '{"spec": {"replicas": null}}')
            await here.mode("Auto", name)
            for number in (5, 3):
                await here.scale_deployment(number, name)
                await here.mirror(number, name)
            assert (await here.agent(name))["status"]["mode"] == "Auto"


async def test_a_pin_of_a_server_side_apply_ends_with_its_time_and_with_the_manifest(here: World) -> None:
    forced = ("apply", "--server-side", "--force-conflicts", "-f", "-")
    async with operating(here):
        item = agent(autoscaling={"pinSeconds": 2})
        item["metadata"]["namespace"] = here.namespace
        await kubectl(here, *forced, stdin=json.dumps(item))
        await here.mirror(0)
        pinned = {**item, "spec": {**item["spec"], "replicas": 3}}
        await kubectl(here, *forced, stdin=json.dumps(pinned))
        await here.mode("Pinned")
        await here.mode("Auto")
        await here.mirror(3)
        generation = (await here.scaled_object())["metadata"]["generation"]
        await kubectl(here, *forced, stdin=json.dumps(pinned))  # says nothing new
        await here.patch(model="other")
        await here.mode("Auto")
        assert (await here.scaled_object())["metadata"]["generation"] == generation, "KEDA is not paused again"
        for_good = {**item, "spec": {**item["spec"], "replicas": 3, "autoscaling": {}}}
        await here.scale_deployment(5)
        await here.mirror(5)
        await here.scale_deployment(3)
        await here.mirror(3)
        await kubectl(here, *forced, stdin=json.dumps(for_good))
        await here.mode("Pinned")
        without = {**for_good, "spec": {key: value for key, value in for_good["spec"].items() if key != "replicas"}}
        await kubectl(here, *forced, stdin=json.dumps(without))
        await here.mode("Auto")


async def test_removing_autoscaling_at_zero_leaves_one_agent(here: World) -> None:
    """The pool stayed at zero for ever, though the same manifest applied afresh gives one."""
    async with operating(here):
        await here.make(agent(autoscaling={}))
        await here.mirror(0)
        await here.patch(autoscaling=None)
        await here.mode("Static")
        await here.replicas(1)


async def test_two_operators_do_not_fight_and_the_second_one_says_so(here: World) -> None:
    """A second release took a Deployment's generation from 1 to 111 in 30 s."""
    async with operating(here):
        await here.make(agent(replicas=2))
        await here.mode("Static")
        await here.replicas(2)
        generation = (await here.deployment())["metadata"]["generation"]
        # With an administrator's rights: those of the chart are for one Lease.
        everything = here.control_plane.kubectl.kubeconfig
        async with operating(here, lease_name="second", kubeconfig=everything):

            async def conflict() -> bool:
                conditions = (await here.agent())["status"].get("conditions", [])
                return any(
                    entry["type"] == "OperatorConflict"
                    and f"{here.namespace}/second leaves it alone" in entry["message"]
                    for entry in conditions
                )

            await eventually(conflict, "the second operator's condition", every=0.05)
            await here.patch(replicas=3)
            await here.replicas(3)
            await eventually(conflict, "the condition, which the first one leaves alone", every=0.05)
            assert (await here.deployment())["metadata"]["generation"] == generation + 1


async def test_kubectl_scale_pins_and_null_goes_back_to_auto(here: World) -> None:
    async with operating(here):
        await here.make(agent(autoscaling={}))
        await here.mirror(0)
        await kubectl(here, "scale", "arkagent", "writer", "--replicas=5")
        await here.replicas(5)
        assert await paused(here), "paused before the number is set"
        await here.mode("Pinned")
        assert "kubectl ark auto writer or set spec.replicas to null" in await here.has("Autoscaling", "Pinned")
        await here.scale_deployment(9)  # the HPA, in the moment before it is gone
        await here.replicas(5)
        await kubectl(here, "scale", "arkagent", "writer", "--replicas=0")
        await here.replicas(0)
        assert (await here.agent())["spec"]["replicas"] == 0
        await eventually(lambda: told(here, "Pinned", 2), "an event for each number", every=0.05)
        await kubectl(here, "patch", "arkagent", "writer", "--type=merge", "-p", '{"spec": {"replicas": null}}')
        await here.mode("Auto")
        await here.mirror(0)
        assert not await paused(here)
        [message] = await here.events("Unpinned")
        assert message == "The pool is no longer pinned to 0 replicas; its mode is now Auto."


async def told(here: World, reason: str, times: int) -> bool:
    return len(await here.events(reason)) == times


async def test_apply_with_replicas_pins_and_apply_without_them_does_not(here: World) -> None:
    item = {**agent(autoscaling={}), "metadata": {"name": "writer", "namespace": here.namespace}}
    pinned = {**item, "spec": {**item["spec"], "replicas": 4}}
    async with operating(here):
        await kubectl(here, "apply", "--server-side", "-f", "-", stdin=json.dumps(item))
        await here.mirror(0)
        await here.scale_deployment(3)
        await here.mirror(3)
        await kubectl(here, "apply", "--server-side", "-f", "-", stdin=json.dumps(item))
        await here.patch(model="other")  # something to wait for
        await here.mode("Auto")
        assert (await here.agent())["spec"]["replicas"] == 3
        with pytest.raises(Exception, match='conflicts with "ark-operator"'):
            await kubectl(here, "apply", "--server-side", "-f", "-", stdin=json.dumps(pinned))
        forced = ("apply", "--server-side", "--force-conflicts", "-f", "-")
        await kubectl(here, *forced, stdin=json.dumps(pinned))
        await here.mode("Pinned")
        await here.replicas(4)
        # Whoever applied it and leaves it out takes it back.
        await kubectl(here, *forced, stdin=json.dumps(item))
        await here.mode("Auto")
        await here.mirror(4)


async def test_a_pin_ends_after_its_seconds(here: World) -> None:
    async with operating(here):
        await here.make(agent(autoscaling={"pinSeconds": 2}))
        await here.mirror(0)
        await here.patch(replicas=5)
        await here.mode("Pinned")
        pin = (await here.agent())["status"]["pin"]
        assert datetime.fromisoformat(pin["until"]) - datetime.fromisoformat(pin["since"]) == timedelta(seconds=2)
        await here.mode("Auto")
        await here.mirror(5)
        assert "pin" not in (await here.agent())["status"]
        assert not await paused(here)


async def test_a_pin_survives_a_restart_of_the_operator_with_its_time(here: World) -> None:
    async with operating(here):
        await here.make(agent(autoscaling={"pinSeconds": 3600}))
        await here.mirror(0)
        await here.patch(replicas=5)
        await here.mode("Pinned")
        pin = (await here.agent())["status"]["pin"]
    async with operating(here):
        await here.patch(model="other")
        await asyncio.sleep(1.5)
        assert (await here.agent())["status"]["pin"] == pin
        assert len(await here.events("Pinned")) == 1


async def test_a_person_who_is_faster_than_the_mirror_wins(here: World) -> None:
    """The patch that fills spec.replicas fails when it is not what was read, absence included."""
    for before, persons in ((None, 7), (3, 7), (3, None)):
        name = f"a-{before}-{persons}".lower()
        read = await here.make(agent(name, autoscaling={}, replicas=before))
        await here.patch(name, replicas=persons)
        path = ARK_AGENTS.path(here.namespace, name)
        with pytest.raises(ApiError, match="422"):
            await here.api.patch(path, mirror_patch(Agent(read), Mirror(before, 5)), "json")
        assert (await here.agent(name))["spec"].get("replicas") == persons
    read = await here.make(agent("undisturbed", autoscaling={}))
    await here.api.patch(
        ARK_AGENTS.path(here.namespace, "undisturbed"), mirror_patch(Agent(read), Mirror(None, 5)), "json"
    )
    assert Agent(await here.agent("undisturbed")).persons_number is None


async def test_a_person_who_pins_the_number_that_is_there_is_not_overwritten(here: World) -> None:
    """The annotations alone tell a person's 3 from the operator's."""
    await here.make(agent(autoscaling={}, replicas=3))
    path = ARK_AGENTS.path(here.namespace, "writer")
    read = await here.api.patch(path, {"metadata": {"annotations": {MIRROR: "3"}}})
    await here.api.patch(path, {"metadata": {"annotations": {MIRROR: None}}})
    with pytest.raises(ApiError, match="422"):
        await here.api.patch(path, mirror_patch(Agent(read), Mirror(3, 5)), "json")
    assert Agent(await here.agent()).persons_number == 3


async def test_a_pin_with_an_end_of_its_own_leaves_nothing_behind(here: World) -> None:
    async with operating(here):
        await here.make(agent(autoscaling={}))
        await here.mirror(0)
        until = (datetime.now(UTC) + timedelta(seconds=3)).strftime("%Y-%m-%dT%H:%M:%SZ")
        path = ARK_AGENTS.path(here.namespace, "writer")
        annotations = {MIRROR: None, PIN_END: f"5 until {until}"}
        await here.api.patch(path, {"metadata": {"annotations": annotations}, "spec": {"replicas": 5}})
        await here.mode("Pinned")
        assert (await here.agent())["status"]["pin"]["until"] == until
        await here.mode("Auto")
        await here.mirror(5)
        assert PIN_END not in (await here.agent())["metadata"].get("annotations", {})


async def test_a_number_that_cannot_be_mirrored_does_not_hide_the_status(here: World) -> None:
    """Somebody scales the Deployment beyond what the resource allows."""
    async with operating(here):
        await here.make(agent(autoscaling={}))
        await here.mirror(0)
        await here.scale_deployment(60)
        await here.patch(model="other")

        async def settled() -> bool:
            item = await here.agent()
            return bool(item["status"]["observedGeneration"] == item["metadata"]["generation"])

        await eventually(settled, "a status of the new generation", every=0.05)
        await here.scale_deployment(4)
        await here.mirror(4)


async def test_people_who_scale_while_the_pool_moves_are_never_overwritten(here: World) -> None:
    """Many numbers by the autoscaler, and a person's in the middle of them."""
    async with operating(here):
        await here.make(agent(autoscaling={}))
        await here.mirror(0)
        for wish in (21, 22, 23):
            moving = asyncio.create_task(move(here))
            await asyncio.sleep(0.2)
            await here.patch(replicas=wish)
            await moving
            await here.replicas(wish)
            assert (await here.agent())["spec"]["replicas"] == wish
            await here.patch(replicas=None)
            await here.mode("Auto")


async def move(here: World) -> None:
    for number in range(1, 20):
        await here.scale_deployment(number)
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("spec", [{"replicas": 3}, {"autoscaling": {}}, {"autoscaling": {}, "replicas": 3}])
async def test_a_budget_that_is_used_up_takes_the_pool_to_zero_and_back(here: World, spec: dict[str, Any]) -> None:
    base = "Static" if "autoscaling" not in spec else "Pinned" if "replicas" in spec else "Auto"
    here.usage["writer"] = WITHIN
    async with operating(here, resync_seconds=0.2):
        await here.make(agent(**spec, **LIMITED))
        await here.mode(base)
        assert (await here.condition("BudgetExceeded"))[:2] == ("False", "WithinLimit")
        if base == "Auto":
            await here.scale_deployment(3)
            await here.mirror(3)
        await here.replicas(3)
        here.usage["writer"] = exceeded()
        await here.mode("Budget")
        await here.replicas(0)
        assert (await here.agent())["spec"]["replicas"] == 3, "spec.replicas is untouched"
        assert "autoscaling" not in spec or await paused(here)
        status = (await here.agent())["status"]
        assert status["dailyTokenUsage"] == {"inputTokens": 600, "outputTokens": 400, "totalTokens": 1000}
        message = (await here.condition("BudgetExceeded"))[2]
        assert "comes back by itself at 2030-01-02T03:04:05Z" in message
        assert [*await here.events("DailyLimitReached")] == [message]
        await here.scale_deployment(2)  # a person, by hand; the budget holds
        await here.replicas(0)
        del here.usage["writer"]  # unknown changes nothing
        await asyncio.sleep(0.6)
        assert (await here.agent())["status"]["mode"] == "Budget"
        here.usage["writer"] = WITHIN
        await here.mode(base)
        if base != "Auto":
            await here.replicas(3)
        else:
            assert not await paused(here)
        assert len(await here.events("BudgetRestored")) == 1
        assert (await here.condition("BudgetExceeded"))[:2] == ("False", "WithinLimit")
        here.usage["writer"] = exceeded(datetime.now(UTC) + timedelta(hours=1))
        await here.mode("Budget")
        await eventually(lambda: told(here, "DailyLimitReached", 2), "an event for each time", every=0.05)
        await here.patch(limits={"maxDailyTokens": None})
        await here.mode(base)
        assert await here.condition("BudgetExceeded") == ("", "", "")


async def test_a_person_may_pin_while_the_budget_is_exceeded(here: World) -> None:
    here.usage["writer"] = exceeded()
    async with operating(here, resync_seconds=0.2):
        await here.make(agent(autoscaling={}, **LIMITED))
        await here.mode("Budget")
        await here.patch(replicas=4)
        await eventually(lambda: told(here, "Pinned", 1), "the event", every=0.05)
        assert (await here.deployment())["spec"]["replicas"] == 0
        here.usage["writer"] = WITHIN
        await here.mode("Pinned")
        await here.replicas(4)


async def test_usage_that_is_unknown_from_the_start_changes_nothing(here: World) -> None:
    async with operating(here):
        await here.make(agent(replicas=2, **LIMITED))
        await here.replicas(2)
        await here.mode("Static")
        assert (await here.condition("BudgetExceeded"))[:2] == ("Unknown", "UsageUnknown")


async def test_new_usage_is_shown_at_the_next_look(here: World) -> None:
    here.usage["writer"] = WITHIN
    async with operating(here, resync_seconds=0.5):
        await here.make(agent(replicas=1, **LIMITED))
        await here.mode("Static")
        here.usage["writer"] = TokenUsage(70, 50, 0, False, None)

        async def shown() -> bool:
            return bool((await here.agent())["status"]["dailyTokenUsage"]["totalTokens"] == 120)

        await eventually(shown, "the new usage", every=0.05)
