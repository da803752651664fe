"""What an ArkAgent becomes: its Deployment and its ScaledObject, and what happens when somebody touches them."""

from __future__ import annotations

import asyncio
import functools
from typing import Any

import pytest

from ark_operator.cluster.kinds import ARK_AGENTS, AUTOSCALERS, DEPLOYMENTS, SCALED_OBJECTS
from hack.cluster.api import ApiError, Object
from tests.cluster.operator.operating import World, agent, operating
from tests.eventually import eventually


def environment(deployment: Object) -> dict[str, Any]:
    """Return the variables of the agent's container."""
    [container] = [c for c in deployment["spec"]["template"]["spec"]["containers"] if c["name"] == "agent"]
    return {variable["name"]: variable.get("value", variable.get("valueFrom")) for variable in container["env"]}


async def settled(here: World, name: str = "writer") -> None:
    """Wait until the status is about the present spec."""

    async def is_settled() -> bool:
        item = await here.agent(name)
        return bool(item.get("status", {}).get("observedGeneration") == item["metadata"]["generation"])

    await eventually(is_settled, f"{name} settled", every=0.05)


async def test_a_static_agent_becomes_a_deployment_and_says_how_it_is(here: World) -> None:
    async with operating(here):
        await here.make(agent(replicas=2, limits={"timeoutSeconds": 30, "maxDailyTokens": 10**6}))
        await here.has("Ready", "Progressing")
        made = await here.deployment()
        assert made["spec"]["replicas"] == 2
        pod = made["spec"]["template"]["spec"]
        assert pod["terminationGracePeriodSeconds"] == 50
        values = environment(made)
        assert values["AGENT_QUEUE"] == f"{here.namespace}/writer"
        assert {name: values[name] for name in values if name.startswith("AGENT_MAX") or "LIMIT" in name} == {
            "AGENT_MAX_TOKENS": "8000",
            "AGENT_MAX_CONCURRENT_TASKS": "5",
            "AGENT_MAX_RETRIES": "3",
            "AGENT_DAILY_TOKEN_LIMIT": "1000000",
        }
        assert (values["AGENT_TIMEOUT_SECONDS"], values["AGENT_GRACE_SECONDS"]) == ("30", "35")
        assert (values["AGENT_MODEL"], values["AGENT_SYSTEM_PROMPT"]) == ("m", "p")
        status = (await here.agent())["status"]
        assert (status["mode"], status["replicas"], status["observedGeneration"]) == ("Static", 0, 1)
        assert "app.kubernetes.io/instance=writer" in status["selector"]
        assert (await here.condition("Autoscaling"))[:2] == ("False", "Disabled")


async def test_ready_follows_the_deployment(here: World) -> None:
    async with operating(here):
        await here.make(agent(replicas=2))
        assert await here.has("Ready", "Progressing") == "0 of 2 agents are ready."
        path = DEPLOYMENTS.path(here.namespace, "writer-agent", "status")
        counts = {"replicas": 2, "readyReplicas": 1, "updatedReplicas": 2, "observedGeneration": 1}
        failure = {"type": "ReplicaFailure", "status": "True", "reason": "x", "message": "quota exceeded"}
        await here.api.patch(path, {"status": {**counts, "conditions": [failure]}})
        assert await here.has("Ready", "DeploymentFailing") == "1 of 2 agents are ready: quota exceeded"
        await here.api.patch(path, {"status": {**counts, "readyReplicas": 2, "conditions": []}})
        await here.has("Ready", "AllReplicasReady")
        status = (await here.agent())["status"]
        assert (status["replicas"], status["readyReplicas"]) == (2, 2)


async def test_an_autoscaled_agent_becomes_a_scaled_object_that_names_the_scaler(here: World) -> None:
    redis = "redis://127.0.0.1:1/0 other=redis://127.0.0.1:2/0"
    async with operating(here, scaler_address="scaler:6000", scaler_authentication="ark", redis=redis):
        scaling = {"maxReplicas": 7, "targetWaitSeconds": 2.5, "cooldownSeconds": 60}
        limits = {"maxConcurrentTasks": 4, "maxDailyTokens": 90_000}
        await here.make(agent(autoscaling=scaling, limits=limits, queue={"group": "g", "redis": "other"}))
        await here.has("Autoscaling", "Pending")
        spec = (await here.scaled_object())["spec"]
        assert spec["scaleTargetRef"]["name"] == "writer-agent"
        assert (spec["minReplicaCount"], spec["maxReplicaCount"], spec["cooldownPeriod"]) == (0, 7, 60)
        [trigger] = spec["triggers"]
        assert trigger == {
            "type": "external-push",
            "metadata": {
                "scalerAddress": "scaler:6000",
                "queue": f"{here.namespace}/writer",
                "group": "g",
                "redis": "other",
                "tasksPerReplica": "4",
                "targetWaitSeconds": "2.5",
                "maxDailyTokens": "90000",
                "maxTokensPerCall": "8000",
            },
            "authenticationRef": {"name": "ark", "kind": "ClusterTriggerAuthentication"},
        }
        up = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]["scaleUp"]
        assert up["policies"] == [{"type": "Pods", "value": 1000, "periodSeconds": 15}]
        await here.keda_says("False", "scaler unreachable")
        assert await here.has("Autoscaling", "ScaledObjectNotReady") == "KEDA cannot scale: scaler unreachable"
        await here.keda_says()
        assert "KEDA keeps the pool at 0 to 7 replicas, following queue" in await here.has(
            "Autoscaling", "FollowsQueue"
        )
        assert (await here.deployment())["spec"]["replicas"] == 0


async def test_a_template_is_merged_and_what_is_taken_out_of_it_goes(here: World) -> None:
    template = {
        "metadata": {"labels": {"team": "a"}},
        "spec": {
            "nodeSelector": {"gpu": "no"},
            "containers": [
                {
                    "name": "agent",
                    "env": [{"name": "EXTRA", "value": "1"}, {"name": "AGENT_MODEL", "value": "mine"}],
                    "resources": {"requests": {"cpu": "1000m"}},
                },
                {"name": "sidecar", "image": "s", "command": ["s"]},
            ],
        },
    }
    async with operating(here):
        await here.make(agent(replicas=3, template=template))
        await settled(here)
        made = await here.deployment()
        pod = made["spec"]["template"]["spec"]
        assert made["spec"]["template"]["metadata"]["labels"]["team"] == "a"
        assert pod["nodeSelector"] == {"gpu": "no"}
        assert [container["name"] for container in pod["containers"]] == ["agent", "sidecar"]
        assert (environment(made)["EXTRA"], environment(made)["AGENT_MODEL"]) == ("1", "mine")
        await here.patch(template=None)
        await eventually(lambda: gone(here), "what the template had is gone", every=0.05)
        made = await here.deployment()
        assert made["spec"]["replicas"] == 3, "an apply leaves the number alone"
        assert environment(made)["AGENT_MODEL"] == "m"
        assert [container["name"] for container in made["spec"]["template"]["spec"]["containers"]] == ["agent"]
        assert (
            "resources" not in made["spec"]["template"]["spec"]["containers"][0]
            or not (made["spec"]["template"]["spec"]["containers"][0]["resources"])
        )
        version = (await here.deployment())["metadata"]["resourceVersion"]
        await here.patch(template={"metadata": {"labels": {}}})
        await settled(here)
        assert (await here.deployment())["metadata"]["resourceVersion"] == version, "nothing changed, nothing written"


async def gone(here: World) -> bool:
    made = await here.deployment()
    pod = made["spec"]["template"]
    return (
        "nodeSelector" not in pod["spec"]
        and "EXTRA" not in environment(made)
        and "team" not in pod["metadata"]["labels"]
    )


async def test_the_number_that_others_set_survives_every_apply(here: World) -> None:
    async with operating(here):
        await here.make(agent(autoscaling={"minReplicas": 1}))
        await settled(here)
        for number, model in ((4, "a"), (2, "b"), (9, "c")):
            await here.scale_deployment(number)
            await here.patch(model=model)
            await eventually(functools.partial(has_model, here, model), "the new model", every=0.05)
            assert (await here.deployment())["spec"]["replicas"] == number
        managers = {
            (entry["manager"], entry["operation"], entry.get("subresource"))
            for entry in (await here.deployment())["metadata"]["managedFields"]
            if entry["manager"] == "ark-operator"
        }
        assert managers == {("ark-operator", "Apply", None)}


async def has_model(here: World, model: str) -> bool:
    return bool(environment(await here.deployment())["AGENT_MODEL"] == model)


@pytest.mark.parametrize(
    ("template", "reason", "message"),
    [
        (
            {"spec": {"containers": "x"}},
            "InvalidTemplate",
            "spec.template.spec.containers must be a list, and is the text 'x'",
        ),
        (
            {"spec": {"containers": [{"image": "x"}]}},
            "InvalidTemplate",
            "spec.template.spec.containers[0].name must be set to identify the item",
        ),
        (
            {"spec": {"terminationGracePeriodSeconds": 5}},
            "InvalidTemplate",
            "spec.template.spec.terminationGracePeriodSeconds is 5: it must be above limits.timeoutSeconds, 120",
        ),
        (
            {"spec": {"nodeSelector": ["x"]}},
            "DeploymentRefused",
            "The API server refuses the Deployment: ",
        ),
        (
            {"spec": {"containers": [{"name": "agent", "resources": {"requests": {"cpu": "much"}}}]}},
            "DeploymentRefused",
            "quantities must match the regular expression",
        ),
        (
            {"spec": {"containers": [{"name": "agent", "imagePullPolicy": "Sometimes"}]}},
            "DeploymentRefused",
            'spec.template.spec.containers[0].imagePullPolicy: Unsupported value: "Sometimes"',
        ),
    ],
)
async def test_a_malformed_template_is_a_condition_that_names_the_field(
    here: World, template: Object, reason: str, message: str
) -> None:
    async with operating(here):
        await here.make(agent(replicas=1, template=template))
        assert message in await here.has("Ready", reason)
        await here.patch(template=None)
        await here.has("Ready", "Progressing")


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ({"spec": {"hostNetwrok": True}}, "hostNetwrok"),
        ({"spec": {"containers": [{"name": "agent", "ports": [{"containerPort": "80"}]}]}}, "containerPort"),
        ({"spec": {"containers": [{"name": "agent", "imagePullPolicy": "Sometimes"}]}}, "imagePullPolicy"),
    ],
)
async def test_a_template_that_is_spoilt_later_stops_neither_the_scaling_nor_the_status(
    here: World, template: Object, message: str
) -> None:
    async with operating(here):
        await here.make(agent(replicas=1))
        await here.has("Ready", "Progressing")
        await here.patch(template=template, replicas=3)
        assert message in await here.has("Ready", "DeploymentRefused")
        await here.replicas(3)
        await here.patch(replicas=2)
        await here.replicas(2)
        await here.patch(template=None)
        await here.has("Ready", "Progressing")


@pytest.mark.parametrize("replicas", [0, 1])
async def test_an_unknown_field_of_the_template_is_refused_at_creation_too(here: World, replicas: int) -> None:
    async with operating(here):
        await here.make(agent(replicas=replicas, template={"spec": {"hostNetwrok": True}}))
        assert "hostNetwrok" in await here.has("Ready", "DeploymentRefused")


async def test_a_behaviour_that_keda_does_not_know_is_a_condition(here: World) -> None:
    async with operating(here):
        await here.make(agent(autoscaling={"behavior": {"scaleDown": {"stabilizationWindowSecond": 60}}}))
        assert "stabilizationWindowSecond" in await here.has("Autoscaling", "ScaledObjectRefused")
        await here.has("Ready", "ScaledToZero")


async def test_a_bad_stream_name_is_a_condition_and_makes_nothing(here: World) -> None:
    async with operating(here):
        await here.make(agent(autoscaling={}, queue={"stream": "a b"}))
        assert "spec.queue: queue name" in await here.has("Ready", "InvalidQueue")
        assert (await here.condition("Autoscaling"))[1] == "InvalidQueue"
        with pytest.raises(ApiError, match="404"):
            await here.deployment()


async def test_a_redis_that_the_operator_does_not_know_is_a_condition(here: World) -> None:
    async with operating(here):
        await here.make(agent(replicas=1, queue={"redis": "other"}))
        assert await here.has("Ready", "UnknownRedis") == "spec.queue.redis 'other' is unknown; use one of: default"
        with pytest.raises(ApiError, match="404"):
            await here.deployment()


async def test_deleted_children_come_back_and_edited_ones_are_put_right(here: World) -> None:
    async with operating(here):
        await here.make(agent(autoscaling={}))
        await settled(here)
        await here.scale_deployment(4)
        await here.mirror(4)
        first = (await here.deployment())["metadata"]["uid"]
        await here.api.delete(DEPLOYMENTS.path(here.namespace, "writer-agent"))
        await eventually(lambda: is_new(here, first), "the new Deployment", every=0.05)
        assert (await here.deployment())["spec"]["replicas"] == 4, "it comes back with the number that it had"

        edit = {"spec": {"template": {"spec": {"containers": [{"name": "agent", "image": "evil"}]}}}}
        path = DEPLOYMENTS.path(here.namespace, "writer-agent")
        await here.api.patch(path, edit, "strategic")
        await here.api.patch(path, {"metadata": {"labels": {"app.kubernetes.io/managed-by": None}}})
        await eventually(lambda: is_right(here), "the Deployment put right", every=0.05)
        note = {"spec": {"template": {"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": "now"}}}}}
        await here.api.patch(path, note)

        scaled = SCALED_OBJECTS.path(here.namespace, "writer")
        await here.api.patch(scaled, {"spec": {"maxReplicaCount": 99}})

        async def limited() -> bool:
            return bool((await here.scaled_object())["spec"]["maxReplicaCount"] == 10)

        await eventually(limited, "the ScaledObject put right", every=0.05)
        await here.api.delete(scaled)

        async def there() -> bool:
            listed = await here.api.get(SCALED_OBJECTS.path(here.namespace))
            return len(listed["items"]) == 1

        await eventually(there, "the new ScaledObject", every=0.05)
        restarted = (await here.deployment())["spec"]["template"]["metadata"]["annotations"]
        assert restarted["kubectl.kubernetes.io/restartedAt"] == "now", "kubectl rollout restart works"


async def is_new(here: World, uid: str) -> bool:
    try:
        return bool((await here.deployment())["metadata"]["uid"] != uid)
    except ApiError:
        return False


async def is_right(here: World) -> bool:
    made = await here.deployment()
    image = made["spec"]["template"]["spec"]["containers"][0]["image"]
    return bool(image == "ark:test") and bool(
        made["metadata"]["labels"].get("app.kubernetes.io/managed-by") == "ark-operator"
    )


async def test_an_agent_that_loses_its_autoscaling_keeps_its_size(here: World) -> None:
    async with operating(here):
        await here.make(agent(autoscaling={}))
        await settled(here)
        await here.scale_deployment(6)
        await here.mirror(6)
        await here.patch(autoscaling=None)
        await here.mode("Static")
        with pytest.raises(ApiError, match="404"):
            await here.scaled_object()
        assert (await here.deployment())["spec"]["replicas"] == 6
        await here.patch(replicas=2)
        await here.replicas(2)
        await here.patch(autoscaling={}, replicas=None)
        await here.mode("Auto")
        await here.mirror(2)


async def test_another_queue_reaches_workers_and_keda(here: World) -> None:
    async with operating(here):
        await here.make(agent(autoscaling={}))
        await settled(here)
        await here.patch(queue={"stream": "agent-tasks"})

        async def moved() -> bool:
            scaled, made = await here.scaled_object(), await here.deployment()
            trigger = scaled["spec"]["triggers"][0]["metadata"]
            return (trigger.get("stream"), trigger.get("queue"), environment(made)["AGENT_QUEUE"]) == (
                "agent-tasks",
                None,
                "stream:agent-tasks",
            )

        await eventually(moved, "the new queue everywhere", every=0.05)


async def test_children_go_with_their_agent(here: World) -> None:
    """By their owner: the garbage collector deletes them, and nothing has to be waited for."""
    async with operating(here):
        await here.make(agent(autoscaling={}))
        await settled(here)
        item = await here.agent()
        assert "finalizers" not in item["metadata"]
        for child in (await here.deployment(), await here.scaled_object()):
            [owner] = child["metadata"]["ownerReferences"]
            assert (owner["uid"], owner["controller"]) == (item["metadata"]["uid"], True)


@pytest.mark.parametrize("spec", [{}, {"autoscaling": {}}])
async def test_a_name_that_is_taken_is_left_alone(here: World, spec: dict[str, Any]) -> None:
    other: Object = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "writer-agent"},
        "spec": {
            "selector": {"matchLabels": {"a": "b"}},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "x", "image": "x"}]}},
        },
    }
    made = await here.api.create(DEPLOYMENTS.path(here.namespace), other)
    async with operating(here):
        await here.make(agent(replicas=4, **spec))
        message = "Deployment writer-agent already exists and has no owner: delete or rename it"
        assert message in await here.has("Ready", "NameTaken")
        now = await here.deployment()
        assert (now["spec"], now["metadata"].get("labels", {})) == (made["spec"], {})
        assert not (await here.api.get(SCALED_OBJECTS.path(here.namespace)))["items"], "KEDA would scale it to zero"
        await here.api.delete(DEPLOYMENTS.path(here.namespace, "writer-agent"))
        await here.replicas(4, seconds=60)


async def test_a_scaled_object_of_the_agents_name_is_left_alone(here: World) -> None:
    other = {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": {"name": "writer"},
        "spec": {"scaleTargetRef": {"name": "something"}, "triggers": [{"type": "cpu", "metadata": {"value": "5"}}]},
    }
    await here.api.create(SCALED_OBJECTS.path(here.namespace), other)
    async with operating(here):
        await here.make(agent(autoscaling={}))
        assert "ScaledObject writer already exists" in await here.has("Autoscaling", "NameTaken")
        assert (await here.scaled_object())["spec"]["scaleTargetRef"] == {"name": "something"}
        await here.api.delete(SCALED_OBJECTS.path(here.namespace, "writer"))
        await here.has("Autoscaling", "Pending")


def hpa(target: str, name: str = "mine", kind: str = "Deployment", group: str = "apps/v1") -> Object:
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": name},
        "spec": {"scaleTargetRef": {"apiVersion": group, "kind": kind, "name": target}, "maxReplicas": 5},
    }


@pytest.mark.parametrize("scaling", [None, {}])
async def test_an_autoscaler_of_somebody_else_ends_the_quarrel_before_it_begins(
    here: World, scaling: Object | None
) -> None:
    async with operating(here):
        await here.make(agent(replicas=1, autoscaling=scaling))
        await settled(here)
        await here.api.create(AUTOSCALERS.path(here.namespace), hpa("writer-agent"))
        message = await here.has("Autoscaling", "Conflict")
        assert "HorizontalPodAutoscaler mine also scales Deployment writer-agent" in message
        await here.scale_deployment(3)
        await here.patch(replicas=2)
        await settled(here)
        await asyncio.sleep(0.5)
        assert (await here.deployment())["spec"]["replicas"] == 3, "two that set one number for ever help nobody"
        await here.api.delete(AUTOSCALERS.path(here.namespace, "mine"))
        await here.replicas(2)


@pytest.mark.parametrize("name", ["mine", "writer"])
async def test_a_scaled_object_of_somebody_else_is_told_of(here: World, name: str) -> None:
    other = {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": {"name": name},
        "spec": {"scaleTargetRef": {"name": "writer-agent"}, "triggers": [{"type": "cpu", "metadata": {"value": "5"}}]},
    }
    await here.api.create(SCALED_OBJECTS.path(here.namespace), other)
    async with operating(here):
        await here.make(agent(autoscaling={}))
        assert f"ScaledObject {name} also scales" in await here.has("Autoscaling", "Conflict")
        [listed] = (await here.api.get(SCALED_OBJECTS.path(here.namespace)))["items"]
        assert (listed["metadata"]["name"], listed["spec"]["scaleTargetRef"]) == (name, {"name": "writer-agent"})
        await here.patch(autoscaling=None, replicas=3)
        await here.mode("Static")
        await asyncio.sleep(0.3)
        assert (await here.deployment())["spec"]["replicas"] == 0, "two that set one number for ever help nobody"


async def test_an_autoscaler_of_the_users_own_on_a_static_agent_works(here: World) -> None:
    async with operating(here):
        await here.make(agent())
        await here.replicas(1)
        await here.mirror(1)
        await here.api.create(
            AUTOSCALERS.path(here.namespace), hpa("writer", kind="ArkAgent", group="arkonis.dev/v1alpha1")
        )
        scale = await here.api.get(ARK_AGENTS.path(here.namespace, "writer", "scale"))
        assert (scale["spec"], "app.kubernetes.io" in scale["status"]["selector"]) == ({"replicas": 1}, True)
        await here.api.scale(ARK_AGENTS.path(here.namespace, "writer"), 4)  # as the HPA controller does
        await here.replicas(4)
        assert (await here.condition("Autoscaling"))[1] == "Disabled"
