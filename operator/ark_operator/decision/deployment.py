"""The Deployment of an agent."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

from ark_api import variables
from ark_api.names import APPLIED_HASH, OPERATOR
from ark_kube.objects import Object
from ark_operator.decision.agent import Agent
from ark_operator.decision.options import Options
from ark_operator.decision.template import InvalidTemplate, merge, name_of
from ark_taskqueue.keys import DEFAULT_GROUP

CONTAINER = "agent"
"""Name of the agent's container, for templates."""
_END_SECONDS = 20
"""What a Pod has after its tasks' time is over: for giving tasks back while Redis is slow."""
_REPORT_SECONDS = 15
"""Share of it that a worker's own grace period leaves."""


_PROBED: Object = {
    "terminationMessagePolicy": "FallbackToLogsOnError",
    "ports": [{"name": "http", "containerPort": 8080}],
    "readinessProbe": {"httpGet": {"path": "/readyz", "port": "http"}, "periodSeconds": 2, "timeoutSeconds": 5},
    "livenessProbe": {
        "httpGet": {"path": "/healthz", "port": "http"},
        "initialDelaySeconds": 20,
        "periodSeconds": 10,
        "timeoutSeconds": 10,
    },
}
"""The worker's endpoint. A Pod whose provider refuses its key says so by not being ready; one that cannot start, for a
missing key or an unknown model, says why in ``kubectl describe pod``."""


_POD_SECURITY: Object = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
_CONTAINER_SECURITY: Object = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
}
"""What the Pod Security Standard "restricted" asks for, and a root file system that is read-only; templates win."""
_SCRATCH = "ark-tmp"
_WRITABLE: Object = {"volumes": [{"name": _SCRATCH, "emptyDir": {}}]}
"""Handlers and libraries write to /tmp."""


_PLATFORMS, _AGENTS = "--agent-template", "spec.template"
"""Where a template stands, for messages."""


def check(options: Options) -> None:
    """See to it that an agent without a template of its own can have Pods.

    Raises:
        InvalidTemplate: the platform's template keeps it from that; the message names the field.
    """
    metadata = {"name": "any", "namespace": "any", "uid": "any"}
    build(Agent({"metadata": metadata, "spec": {"model": "any", "limits": {"timeoutSeconds": 1}}}), options)


def labels(agent: Agent) -> dict[str, str]:
    """Return the labels of an agent's Pods and their selector; those of arkonis, whose Deployments are taken over."""
    return {
        "app.kubernetes.io/name": "agent",
        "app.kubernetes.io/instance": agent.name,
        "app.kubernetes.io/managed-by": "ark-operator",
        "arkonis.dev/deployment": agent.name,
    }


def selector(agent: Agent) -> str:
    """Return the selector as text, as autoscalers want it."""
    return ",".join(f"{name}={value}" for name, value in sorted(labels(agent).items()))


def build(agent: Agent, options: Options) -> Object:
    """Return the Deployment as it should be, but for ``spec.replicas``, which others write (contract C4).

    Raises:
        InvalidTemplate: ``spec.template`` cannot be merged; the message names the field.
        InvalidQueueName: ``spec.queue`` has no possible stream or group.
    """
    own: Object = {
        "metadata": {"labels": labels(agent)},
        "spec": {
            "automountServiceAccountToken": False,
            # A Service named agent-http would give every Pod an AGENT_HTTP_PORT of its own.
            "enableServiceLinks": False,
            "securityContext": _POD_SECURITY,
            "terminationGracePeriodSeconds": agent.limits.timeout_seconds + _END_SECONDS,
            **_WRITABLE,
            "containers": [
                {
                    "name": CONTAINER,
                    "image": options.image,
                    "command": ["ark-agent"],
                    "env": list(_environment(agent, options)),
                    "securityContext": _CONTAINER_SECURITY,
                    "volumeMounts": [{"mountPath": "/tmp", "name": _SCRATCH}],  # noqa: S108 - the container's own
                    **_PROBED,
                    **_from_secret(options),
                }
            ],
        },
    }
    template = own
    for place, patch in ((_PLATFORMS, options.agent_template), (_AGENTS, agent.spec.get("template") or {})):
        template = merge(template, patch, place)
        _check_shape(template, place)
        _keep_limits(own, template, place)
    template["metadata"]["labels"] = {**(template["metadata"].get("labels") or {}), **labels(agent)}
    _set_grace(agent, template)
    spec = {"selector": {"matchLabels": labels(agent)}, "template": template}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": agent.deployment_name,
            "namespace": agent.namespace,
            "labels": labels(agent),
            "annotations": {APPLIED_HASH: hash_of(spec), **written_by(options)},
            "ownerReferences": [agent.owner_reference],
        },
        "spec": spec,
    }


def written_by(options: Options) -> dict[str, str]:
    """Return the annotation that says whose a child is."""
    return {OPERATOR: options.identity} if options.identity else {}


def hash_of(content: Any) -> str:
    """Return a short hash of plain data."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _check_shape(template: Object, place: str) -> None:
    """See to it that a template has the shape that the rest of this module takes for granted.

    Raises:
        InvalidTemplate: it has not: ``$patch: replace`` takes anything as it stands.
    """
    for name in ("metadata", "spec"):
        if not isinstance(template.get(name), dict):
            raise InvalidTemplate(f"{place}.{name} must be a map of fields")
    if not isinstance(template["metadata"].get("labels") or {}, dict):
        raise InvalidTemplate(f"{place}.metadata.labels must be a map of texts")
    for kind in ("containers", "initContainers"):
        containers = template["spec"].get(kind, [] if kind == "initContainers" else None)
        if not isinstance(containers, list) or not all(isinstance(container, dict) for container in containers):
            raise InvalidTemplate(f"{place}.spec.{kind} must be a list of maps")
        for number, container in enumerate(containers):
            _check_container(container, f"{place}.spec.{kind}[{number}]")


def _check_container(container: Object, place: str) -> None:
    given = container.get("env") or []
    if not isinstance(given, list) or any(name_of("env", variable) is None for variable in given):
        raise InvalidTemplate(f"{place}.env must be a list of maps with a name each")
    for name in ("command", "args"):
        if not isinstance(container.get(name) or [], list):
            raise InvalidTemplate(f"{place}.{name} must be a list of words")


_LIMIT_FLAGS = frozenset(
    "--" + name.removeprefix(variables.PREFIX).replace("_", "-").lower() for name in variables.FIXED
)


def _keep_limits(own: Object, template: Object, where: str) -> None:
    """Refuse a template that sets what ``spec.limits`` and ``spec.queue`` say, or leaves it out.

    In other containers that run a worker too. Its settings know no case, and flags win over variables.

    Raises:
        InvalidTemplate: it does.
    """
    [container] = own["spec"]["containers"]
    wanted = {variable["name"]: variable for variable in container["env"] if variable["name"] in variables.FIXED}
    for kind in ("containers", "initContainers"):
        for number, given in enumerate(template["spec"].get(kind) or []):
            words = [w for part in ("command", "args") for word in given.get(part) or [] for w in str(word).split()]
            is_agent = kind == "containers" and given.get("name") == CONTAINER
            if is_agent or any(word.endswith("ark-agent") for word in words):
                place = f"{where}.spec.{kind}[{number}]"
                _check_variables(place, given.get("env") or [], wanted)
                _check_flags(place, words)


def _check_variables(place: str, env: list[Object], wanted: Object) -> None:
    given = {variable["name"]: variable for variable in env}
    for name in sorted({name for name in given if name.upper() in variables.FIXED} | wanted.keys()):
        if given.get(name) != wanted.get(name):
            raise InvalidTemplate(f"{place}.env must not change {name}: set it in spec.limits or spec.queue")


def _check_flags(place: str, words: list[str]) -> None:
    for word in words:
        name = word.partition("=")[0].replace("_", "-").lower()
        # Flags may be shortened.
        flag = next((flag for flag in sorted(_LIMIT_FLAGS) if len(name) > 2 and flag.startswith(name)), None)
        if flag is not None:
            raise InvalidTemplate(f"{place} must not use the flag {flag}: set it in spec.limits or spec.queue")


def _set_grace(agent: Agent, template: Object) -> None:
    """Tell the worker how long its tasks may take to end, by what the Pod has in the end."""
    where = _AGENTS if agent.spec.get("template") else _PLATFORMS
    seconds = template["spec"].get("terminationGracePeriodSeconds")
    if isinstance(seconds, bool) or not isinstance(seconds, int) or seconds <= agent.limits.timeout_seconds:
        raise InvalidTemplate(
            f"{where}.spec.terminationGracePeriodSeconds is {seconds!r}: it must be above limits.timeoutSeconds, "
            f"{agent.limits.timeout_seconds}, or running tasks are killed"
        )
    containers = template["spec"].get("containers") or []
    mine = [container for container in containers if container.get("name") == CONTAINER]
    if not mine:
        raise InvalidTemplate(f"{where}.spec.containers deletes the container {CONTAINER!r}, which is the agent")
    given = mine[0].get("env") or []
    if all(variable["name"] != variables.GRACE_SECONDS for variable in given):
        grace = str(max(0, seconds - _REPORT_SECONDS))
        mine[0]["env"] = [*given, {"name": variables.GRACE_SECONDS, "value": grace}]


def _from_secret(options: Options) -> Object:
    if options.agent_secret is None:
        return {}
    return {"envFrom": [{"secretRef": {"name": options.agent_secret, "optional": True}}]}


def _environment(agent: Agent, options: Options) -> Iterator[Object]:
    """Yield the agents' environment, as arkonis has it, and what this project's worker needs beside it."""
    pod_name = {"fieldRef": {"fieldPath": "metadata.name"}}
    limits = agent.limits
    yield {"name": "POD_NAME", "valueFrom": pod_name}
    yield {"name": variables.NAME, "valueFrom": pod_name}
    values = {
        variables.MODEL: agent.spec["model"],
        variables.MAX_TOKENS: limits.tokens_per_call,
        variables.MAX_CONCURRENT_TASKS: limits.concurrent_tasks,
        variables.TIMEOUT_SECONDS: limits.timeout_seconds,
        variables.MAX_RETRIES: limits.retries,
        variables.DAILY_TOKEN_LIMIT: limits.daily_tokens or 0,
        variables.MCP_SERVERS: _json(agent.spec.get("mcpServers") or []),
        variables.WEBHOOK_TOOLS: _json(agent.spec.get("tools") or []),
        variables.QUEUE: _queue(agent),
    }
    if agent.queue.group != DEFAULT_GROUP:
        values[variables.GROUP] = agent.queue.group
    if agent.redis in options.agent_redis:
        values[variables.REDIS] = options.agent_redis[agent.redis]
    for name, value in values.items():
        yield {"name": name, "value": _as_it_stands(str(value))}
    yield _system_prompt(agent)


def _queue(agent: Agent) -> str:
    queue = agent.queue
    own = queue.namespace is not None
    return queue.name if own else f"{variables.STREAM_PREFIX}{queue.stream}"


def _system_prompt(agent: Agent) -> Object:
    reference = agent.spec.get("systemPromptRef") or {}
    for kind in ("configMapKeyRef", "secretKeyRef"):
        if kind in reference:
            return {"name": variables.SYSTEM_PROMPT, "valueFrom": {kind: dict(reference[kind])}}
    prompt = str(agent.spec.get("systemPrompt") or "")
    return {"name": variables.SYSTEM_PROMPT, "value": _as_it_stands(prompt)}


def _as_it_stands(value: str) -> str:
    """Return a variable's value such that a container gets it unchanged: "$(x)" stands for a variable, "$$" for "$"."""
    return value.replace("$", "$$")


def _json(content: Any) -> str:
    return json.dumps(content, separators=(",", ":"), ensure_ascii=False)
