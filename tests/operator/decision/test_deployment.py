"""The Pods that an agent gets, before and after the platform's template and its own."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from ark_kube.objects import Object
from ark_operator.decision import template
from ark_operator.decision.deployment import build
from ark_operator.decision.template import InvalidTemplate
from ark_operator.settings import OperatorSettings
from ark_process import settings
from hack.cluster.node.environment import expand
from tests.operator.builders import OPTIONS, agent

PLATFORM = {
    "spec": {
        "securityContext": {"runAsUser": 65532},
        "tolerations": [{"key": "llm"}],
        "containers": [{"name": "agent", "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}}}],
    }
}


def pod(spec: dict[str, Any] | None = None, platform: Object | None = None) -> Object:
    built = build(agent(template={"spec": spec or {}}), replace(OPTIONS, agent_template=platform or {}))
    return dict(built["spec"]["template"]["spec"])


def test_a_pod_is_restricted_and_can_write_to_tmp_alone() -> None:
    made = pod()
    [container] = made["containers"]
    assert made["automountServiceAccountToken"] is False
    assert made["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }
    [mount] = container["volumeMounts"]
    assert mount["mountPath"] == "/tmp"
    assert made["volumes"] == [{"name": mount["name"], "emptyDir": {}}]


def test_the_platforms_template_is_in_every_pod() -> None:
    made = pod(platform=PLATFORM)
    [container] = made["containers"]
    assert made["securityContext"]["runAsUser"] == 65532
    assert made["securityContext"]["runAsNonRoot"] is True
    assert made["tolerations"] == [{"key": "llm"}]
    assert container["resources"]["requests"] == {"cpu": "50m", "memory": "128Mi"}
    assert container["command"] == ["ark-agent"]


def test_an_agents_own_template_wins() -> None:
    own = {
        "securityContext": {"runAsUser": None},
        "containers": [
            {
                "name": "agent",
                "resources": {"requests": {"memory": "1Gi"}},
                "securityContext": {"readOnlyRootFilesystem": False},
                "volumeMounts": [{"mountPath": "/tmp", "name": "large"}],
            }
        ],
        "volumes": [{"name": "large", "emptyDir": {"sizeLimit": "10Gi"}}],
    }
    made = pod(own, PLATFORM)
    [container] = made["containers"]
    assert "runAsUser" not in made["securityContext"]
    assert container["resources"]["requests"] == {"cpu": "50m", "memory": "1Gi"}
    assert container["securityContext"]["readOnlyRootFilesystem"] is False
    assert [mount["name"] for mount in container["volumeMounts"]] == ["large"]


def test_the_platform_may_take_away_what_the_operator_has() -> None:
    text = '{"spec": {"securityContext": {"runAsNonRoot": null}, "containers": [{"name": "agent", "image": "own:1"}]}}'
    made = pod(platform=template.parse(text))
    assert "runAsNonRoot" not in made["securityContext"]
    assert made["containers"][0]["image"] == "own:1"


def test_the_platform_cannot_change_limits_either() -> None:
    platform = {"spec": {"containers": [{"name": "agent", "env": [{"name": "AGENT_DAILY_TOKEN_LIMIT", "value": "9"}]}]}}
    with pytest.raises(InvalidTemplate, match="must not change AGENT_DAILY_TOKEN_LIMIT"):
        pod(platform=platform)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "the template is no JSON: Expecting"),
        ("[]", "the template must be a map of fields, and is a list"),
        ('{"metadata": null}', "--agent-template.metadata must be a map"),
        ('{"spec": {"containers": null}}', "--agent-template.spec.containers must be a list"),
        ('{"spec": {"containers": [{"image": "x"}]}}', "--agent-template.spec.containers"),
        (
            '{"spec": {"initContainers": [{"name": "a", "args": 5}]}}',
            r"initContainers\[0\].args must be a list of words",
        ),
        ('{"spec": {"terminationGracePeriodSeconds": 1}}', "--agent-template.spec.terminationGracePeriodSeconds is 1"),
    ],
)
def test_a_template_that_no_agent_could_have_is_refused_at_the_start(
    capsys: pytest.CaptureFixture[str], text: str, says: str
) -> None:
    with pytest.raises(SystemExit):
        settings.load(OperatorSettings, ["--image=x", f"--agent-template={text}"])
    said = capsys.readouterr().err
    assert re.search(says, said)
    assert "Traceback" not in said


def test_a_timeout_above_the_platforms_grace_period_blames_the_platforms_template() -> None:
    with pytest.raises(InvalidTemplate, match=r"^--agent-template\.spec\.terminationGracePeriodSeconds is 60"):
        build(agent(), replace(OPTIONS, agent_template={"spec": {"terminationGracePeriodSeconds": 60}}))


def test_an_agents_wrong_arguments_are_named() -> None:
    with pytest.raises(InvalidTemplate, match=r"^spec\.template\.spec\.containers\[0\]\.args must be a list of words"):
        pod({"containers": [{"name": "agent", "args": 5}]})


@pytest.mark.parametrize("prompt", ["$(HOME)", "$$(HOME)", "$$$ 5$ $"])
def test_a_prompt_comes_through_as_it_is_written(prompt: str) -> None:
    built = build(agent(systemPrompt=prompt), OPTIONS)
    [container] = built["spec"]["template"]["spec"]["containers"]
    [value] = [item["value"] for item in container["env"] if item["name"] == "AGENT_SYSTEM_PROMPT"]
    assert expand(value, {"HOME": "wrong"}) == prompt
