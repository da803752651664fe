"""`kubectl ark` as people use it: the program, the real kubectl, a real cluster with agents at work."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from ark_api.names import PIN_END
from ark_operator.cluster.kinds import ARK_AGENTS
from hack.cluster import manifests, operator_manifests, planted
from hack.cluster.api import DEPLOYMENTS, Object
from tests.cluster.stack import Pool, Stack, pages
from tests.cluster.test_operator import make, with_operator
from tests.eventually import eventually

PROGRAM = Path(sys.executable).parent / "kubectl-ark"
SHOW_TASKS = ("dead", "result", "submit")
"""Commands that are there to show what a task asks or answers."""
LIMITS = {"maxDailyTokens": 100_000, "maxTokensPerCall": 1000, "maxRetries": 1, "timeoutSeconds": 60}


@dataclass(slots=True)
class Ended:
    """What the program said."""

    code: int
    out: str
    err: str


@dataclass(slots=True)
class Ark:
    """Runs `kubectl ark` in a pool's namespace."""

    pool: Pool

    async def __call__(self, *arguments: str, stdin: str | None = None, **environment: str) -> Ended:
        kubectl = self.pool.stack.access.kubectl
        variables = {
            "PATH": f"{kubectl.program.parent}{os.pathsep}{PROGRAM.parent}{os.pathsep}{os.environ['PATH']}",
            "HOME": os.environ["HOME"],
            "KUBECONFIG": str(kubectl.kubeconfig),
            **environment,
        }

        def run() -> subprocess.CompletedProcess[str]:
            command = [str(kubectl.program), "ark", *arguments, "-n", self.pool.stack.namespace]
            return subprocess.run(
                command, input=stdin, capture_output=True, text=True, timeout=90, check=False, env=variables
            )

        ended = await asyncio.to_thread(run)
        private = planted.in_text(ended.stdout + ended.stderr)
        assert planted.KEY not in private
        assert arguments[0] in SHOW_TASKS or not private, f"{arguments[0]} shows a prompt"
        return Ended(ended.returncode, ended.stdout, ended.stderr)

    async def data(self, *arguments: str) -> Any:
        """Return what it prints for programs."""
        ended = await self(*arguments, "-o", "json")
        assert ended.code == 0, ended.err
        return json.loads(ended.out)

    async def agent(self) -> Object:
        """Read the agent."""
        stack = self.pool.stack
        return await stack.api.get(ARK_AGENTS.path(stack.namespace, self.pool.agent))

    async def has_mode(self, mode: str) -> None:
        """Wait for a mode."""

        async def there() -> bool:
            return bool((await self.agent()).get("status", {}).get("mode") == mode)

        await eventually(there, f"mode {mode}", 60, every=0.05)


@pytest.fixture
async def ark(stack: Stack) -> AsyncIterator[Ark]:
    async with with_operator(stack) as governed:
        pool = await make(governed, autoscaling={"maxReplicas": 4, "cooldownSeconds": 300}, limits=LIMITS)
        await pool.accepted()
        yield Ark(pool)


async def test_a_task_is_submitted_waited_for_and_looked_up(ark: Ark) -> None:
    waited = await ark("submit", ark.pool.agent, "Hello", "--wait")
    assert (waited.code, waited.out) == (0, "Hello\n")
    piped = await ark("submit", ark.pool.agent, "-", "--key", "once", stdin="from a pipe\n")
    assert re.fullmatch(r"\d+-\d+\n", piped.out)
    again = await ark("submit", ark.pool.agent, "-", "--key", "once", stdin="from a pipe\n")
    assert again.out == piped.out
    urgent = await ark("submit", ark.pool.agent, "Hello", "--priority", "high")
    assert urgent.out.startswith("high-"), "its id says so"
    assert (await ark("result", ark.pool.agent, urgent.out.strip(), "--wait")).out == "Hello\n"
    other = await ark("submit", ark.pool.agent, "other", "--key", "once")
    assert (other.code, other.out) == (3, "")
    assert "with different contents" in other.err
    assert "key already used" in again.err
    found = await ark("result", ark.pool.agent, piped.out.strip(), "--wait")
    assert (found.code, found.out) == (0, "from a pipe\n\n")
    slow = await ark.data("submit", ark.pool.agent, "x", "--meta", '{"latency_seconds": 30}')
    not_yet = await ark("result", ark.pool.agent, slow["task"])
    assert (not_yet.code, not_yet.out) == (4, "")
    late = await ark("result", ark.pool.agent, slow["task"], "--wait", "--timeout", "0.2")
    assert late.code == 4
    assert (await ark("submit", "nobody", "x")).code == 3
    full = await ark("submit", ark.pool.agent, "x", "--max-depth", "1")
    assert (full.code, full.out) == (3, "")
    assert "holds 1 tasks or more" in full.err
    # One of its own: each command takes seconds on a busy machine.
    long = await ark.data("submit", ark.pool.agent, "x", "--meta", '{"latency_seconds": 55}')

    async def runs() -> bool:
        return (await ark("task", ark.pool.agent, long["task"])).out.startswith("running on ")

    await eventually(runs, "the long task")
    cancelled = await ark("cancel", ark.pool.agent, long["task"])
    assert (cancelled.code, cancelled.out) == (0, f"task {long['task']} cancelled, it was running\n")
    again = await ark("cancel", ark.pool.agent, long["task"])
    assert (again.code, again.out) == (0, "")
    assert "was cancelled before" in again.err
    finished = await ark("cancel", ark.pool.agent, piped.out.strip())
    assert (finished.code, finished.out) == (1, "")
    assert "is finished, nothing to cancel" in finished.err
    assert (await ark("task", ark.pool.agent, long["task"])).out == "cancelled, attempt 1\n"
    assert (await ark.data("task", ark.pool.agent, piped.out.strip()))["status"] == "completed"
    gone = await ark("result", ark.pool.agent, long["task"])
    assert (gone.code, gone.err) == (1, "the task was cancelled\n")
    for wrong, code in (("1-1", 3), ("nonsense", 2)):
        assert (await ark("result", ark.pool.agent, wrong)).code == code
        assert (await ark("cancel", ark.pool.agent, wrong)).code == code
        assert (await ark("task", ark.pool.agent, wrong)).code == code


async def test_status_says_what_agents_do_and_why(ark: Ark) -> None:
    agent = ark.pool.agent
    await ark.pool.submit([40.0] * 7)
    await ark.pool.reaches(2)

    async def at_work() -> bool:
        found = await ark.data("status", agent)
        return bool(found["queue"]["inFlight"] == 7 and found["replicas"]["ready"] == 2)

    await eventually(at_work, "seven tasks in flight", 60, every=0.3)
    await ark.pool.submit(
        [5.0] * 200
    )  # many more than any size of the pool takes at once, however slow this machine is

    async def waiting() -> bool:
        return bool((await ark.data("status", agent))["queue"]["oldestWaitingSeconds"] >= 1)

    await eventually(waiting, "tasks that wait", 60, every=0.3)
    found = await ark.data("status", agent)
    assert (found["mode"], found["queue"]["stream"]) == ("Auto", ark.pool.queue.stream)
    assert found["budget"]["reservedTokens"] >= 7000
    top = (await ark("top", "--interval", "0.5")).out.splitlines()
    assert top[0].split()[:4] == ["NAME", "MODE", "READY", "DEMAND"]
    assert int(top[1].split()[3]) > 0
    table = (await ark("status")).out.splitlines()
    assert table[0].split() == ["NAME", "MODE", "READY", "WAITING", "IN", "FLIGHT", "OLDEST", "BUDGET", "WHY"]
    assert table[1].startswith(f"{agent} ")
    everywhere = await ark.data("status", "-A")
    assert [one["name"] for one in everywhere["agents"] if one["namespace"] == ark.pool.stack.namespace] == [agent]
    one = (await ark("status", agent)).out
    assert re.search(r"Autoscaling\s+True\s+\S+\s+FollowsQueue", one)
    assert "ScaledBurst" in one
    assert re.search(r"Sizing\s+tasksPerReplica 5, patience 60s for \d", one)
    assert found["sizing"]["message"] == "spec.autoscaling.tasksPerReplica is set."
    assert yaml.safe_load((await ark("status", agent, "-o", "yaml")).out)["name"] == agent
    without = await ark.data("status", agent, "--no-redis")
    assert (without["queue"]["oldestWaitingSeconds"], without["queue"]["deadLetters"]) == (None, None)


async def test_what_cannot_be_read_from_redis_is_said_and_the_rest_is_shown(ark: Ark) -> None:
    ended = await ark("status", ARK_REDIS_URL="redis://127.0.0.1:1/0")
    assert ended.code == 0
    assert "some data is unavailable" in ended.err
    assert ark.pool.agent in ended.out
    for command in (("submit", ark.pool.agent, "x"), ("dead", "list", ark.pool.agent)):
        ended = await ark(*command, "--redis-url", "redis://127.0.0.1:1/0")
        assert (ended.code, ended.out) == (3, "")
        assert "127.0.0.1" in ended.err


async def test_a_pin_holds_as_long_as_it_was_set_for_and_auto_ends_it(ark: Ark) -> None:
    agent = ark.pool.agent
    # The number that is there already: kubectl scale could not pin the pool to it.
    number = (await ark.agent())["spec"].get("replicas", 0)
    pinned = await ark("pin", agent, str(number), "--for", "1h")
    assert f"pinned to {number} for 1h" in pinned.out
    await ark.has_mode("Pinned")
    assert (await ark.data("status", agent))["why"]["reason"] == "Pinned"
    assert f"{number} until " in (await ark.agent())["metadata"]["annotations"][PIN_END]
    # At once after another one, which the operator's status need not tell of yet.
    assert "follows its queue\n" in (await ark("auto", agent)).out
    await ark("pin", agent, "2")
    assert "follows its queue" in (await ark("auto", agent)).out
    await ark.has_mode("Auto")
    assert "already" in (await ark("auto", agent)).out
    async with asyncio.TaskGroup() as group:
        # Looked for meanwhile: on a busy machine the command itself may take as long as the pin holds.
        group.create_task(ark.has_mode("Pinned"))
        await ark("pin", agent, "1", "--for", "20s")
    await ark.has_mode("Auto")
    # None at all, where the pool is back at zero by then.
    assert PIN_END not in (await ark.agent())["metadata"].get("annotations", {})
    refused = await ark("pin", agent, "99")
    assert (refused.code, refused.out) == (3, "")
    assert "replicas" in refused.err


async def test_a_budget_is_shown_and_another_one_set(ark: Ark) -> None:
    agent = ark.pool.agent
    meta = '{"input_tokens": 600, "output_tokens": 400}'
    await ark("submit", agent, "x", "--meta", meta, "--wait")
    found = await ark.data("budget", agent)
    assert (found["usedTokens"], found["inputTokens"], found["leftTokens"]) == (1000, 600, 99_000)
    assert (await ark("budget", agent, "--limit", "999")).code == 3
    shown = (await ark("budget", agent, "--limit", "1500")).out
    assert re.search(rf"{agent}\s+█+░+ 66%\s+1000\s+0\s+500\s+1500", shown)
    await ark.has_mode("Budget")
    data = (await ark.data("budget"))["budgets"]
    assert [(one["name"], one["exceeded"]) for one in data] == [(agent, True)]
    assert data[0]["restoredAt"] is not None
    assert (await ark("budget", agent, "--limit", "none")).code == 0
    await ark.has_mode("Auto")
    assert await ark.data("budget", agent) is None


async def test_other_sizings_are_advised_by_the_record(ark: Ark) -> None:
    agent, client = ark.pool.agent, ark.pool.stack.redis
    early = await ark("advise", agent, "--start", "2")
    assert early.code == 4
    assert f"the record of {ark.pool.stack.namespace}/{agent} has 0 tasks" in early.err
    # Forty minutes up to an hour ago, each with two full spans of thirty tasks that work for five seconds.
    minute = "{tonumber(ARGV[1]) + number, 30, 1500, 0, 30, 1500, 0}"
    script = f"for number = 0, 39 do redis.call('RPUSH', KEYS[1], cmsgpack.pack({minute})) end"
    await client.execute_command("EVAL", script, 1, ark.pool.queue.demand, int(time.time() // 60) - 100)
    no_pod = await ark("advise", agent)
    assert no_pod.code == 3
    assert "say how long it takes with --start" in no_pod.err
    table = (await ark("advise", agent, "--start", "2")).out.splitlines()
    assert table[0].split() == ["SIZING", "P95", "P99", "HOURS", "COST", "HOW"]
    await ark.pool.submit([30.0])
    await ark.pool.reaches(1)

    async def is_ready() -> bool:
        return bool((await ark.data("status", agent))["replicas"]["ready"])

    await eventually(is_ready, "a Pod that is ready", 60, every=0.3)
    found = await ark.data("advise", agent)
    assert (found["of"], found["tasks"] >= 2400) == (f"{ark.pool.stack.namespace}/{agent}", True)
    assert 0.1 <= found["startSeconds"] < 60, "as the operator has measured it"
    assert found["sizings"][0]["sizing"]["tasksPerReplica"] == 5, "as the agent has it"


async def test_dead_letters_are_listed_shown_requeued_and_dropped(ark: Ark) -> None:
    agent = ark.pool.agent
    for number in range(3):
        failed = await ark("submit", agent, f"task {number}", "--meta", '{"failing_attempts": 1}', "--wait")
        assert (failed.code, failed.out) == (1, "")
        assert "the task failed after 1 attempts" in failed.err
    letters = (await ark.data("dead", "list", agent))["deadLetters"]
    first, second, third = (letter["id"] for letter in letters)
    assert len((await ark("dead", "list", agent)).out.splitlines()) == 4
    shown = (await ark("dead", "show", agent, second)).out
    assert "task 1" in shown
    assert "CallFailed" in shown
    requeued = await ark("dead", "requeue", agent, first)
    task = requeued.out.split()[-2]
    assert (await ark("result", agent, task, "--wait")).code == 1, "it fails again, as it asks for"
    assert (await ark("dead", "show", agent, first)).code == 3
    assert (await ark("dead", "drop", agent, second, stdin="n\n")).code == 130
    assert (await ark("dead", "drop", agent, second, "--yes")).out == "1 deleted\n"
    missing = await ark("dead", "drop", agent, second, third, "--yes")
    assert (missing.code, missing.out) == (3, "1 deleted\n")
    assert second in missing.err
    assert (await ark("dead", "drop", agent, "--all", "--yes")).out == "1 deleted\n"
    assert (await ark("dead", "list", agent)).err == "No dead letters.\n"
    assert (await ark("dead", "requeue", agent, "--all")).out == "0 put back into the queue\n"


async def has_redis_from(ark: Ark, name: str, url: str) -> None:
    """Give the agent its Redis by a Secret, and wait until its Deployment says so."""
    stack, agent = ark.pool.stack, ark.pool.agent
    await stack.apply(manifests.secret(stack.namespace, name, {"url": url}))
    variable = {"name": "AGENT_REDIS", "valueFrom": {"secretKeyRef": {"name": name, "key": "url"}}}
    template = {"spec": {"containers": [{"name": "agent", "env": [variable]}]}}
    await stack.api.patch(ARK_AGENTS.path(stack.namespace, agent), {"spec": {"template": template}})

    async def taken_over() -> bool:
        found = await stack.api.get(DEPLOYMENTS.path(stack.namespace, f"{agent}-agent"))
        return name in json.dumps(found["spec"])

    await eventually(taken_over, "the Deployment's new variable", 30, every=0.1)


async def test_redis_is_found_in_a_secret_where_it_stands_there(ark: Ark) -> None:
    stack, agent = ark.pool.stack, ark.pool.agent
    await has_redis_from(ark, "hidden", stack.redis_url)
    assert (await ark("submit", agent, "Hello", "--wait")).out == "Hello\n"
    await stack.kubectl("delete", "secret", "hidden")
    lost = await ark("submit", agent, "Hello")
    assert (lost.code, lost.out) == (3, "")
    assert "--redis-url" in lost.err


async def test_a_redis_with_a_services_name_is_reached_by_a_port_forward(ark: Ark) -> None:
    stack = ark.pool.stack
    await has_redis_from(ark, "named", f"redis://{manifests.REDIS}.{stack.namespace}.svc:{manifests.REDIS_PORT}/0")
    ended = await ark("submit", ark.pool.agent, "Hello")
    assert ended.code == 0, ended.err
    # Where there is no DNS, the Pods do not find Redis by this name: the task lies there.
    task = (await ark.data("submit", ark.pool.agent, "Hello again"))["task"]
    assert (await ark("result", ark.pool.agent, task)).code in (0, 4)
    assert (await ark.data("status", ark.pool.agent))["queue"]["oldestWaitingSeconds"] is not None
    if stack.access.local is not None:
        assert await stack.redis.xlen(ark.pool.queue.stream) == 2
    await has_redis_from(ark, "misnamed", f"redis://{manifests.REDIS}.{stack.namespace}.svc:1/0")
    lost = await ark("submit", ark.pool.agent, "Hello")
    assert (lost.code, lost.out) == (3, "")
    assert f"kubectl port-forward to service {stack.namespace}/{manifests.REDIS} failed" in lost.err


async def test_among_many_agents_each_is_read_from_its_own_redis(ark: Ark) -> None:
    """One of four has another Redis, out of reach; another one can have no queue, and so no Deployment either."""
    stack, namespace = ark.pool.stack, ark.pool.stack.namespace
    await ark.pool.submit([60.0])
    spec = {"model": "echo", "systemPrompt": "p", "autoscaling": {}}
    elsewhere = {
        "spec": {"containers": [{"name": "agent", "env": [{"name": "AGENT_REDIS", "value": "redis://127.0.0.1:1"}]}]}
    }
    others = {
        "another": spec,
        # Read first, by its name: what it says of Redis is its own alone.
        "aelsewhere": {**spec, "template": elsewhere},
        "astray": {**spec, "queue": {"stream": "no stream"}},
    }
    await stack.apply(*(operator_manifests.agent(namespace, name, **given) for name, given in others.items()))

    async def seen() -> bool:
        found = await stack.api.get(ARK_AGENTS.path(namespace))
        return all("mode" in item.get("status", {}) for item in found["items"])

    await eventually(seen, "a status of each agent", 30, every=0.1)
    ended = await ark("status", "-o", "json")
    assert ended.code == 0
    found = {one["name"]: one for one in json.loads(ended.out)["agents"]}
    letters = {name: one["queue"]["deadLetters"] for name, one in found.items()}
    assert letters == {ark.pool.agent: 0, "another": 0, "aelsewhere": None, "astray": None}
    assert found[ark.pool.agent]["queue"]["waiting"] + found[ark.pool.agent]["queue"]["inFlight"] == 1
    assert found["astray"]["queue"]["stream"] == "no stream"
    assert "127.0.0.1:1" in ended.err
    assert "no stream" in ended.err
    assert "astray" in (await ark("status", "astray")).out
    assert (await ark("top", "--interval", "0.3")).code == 0


async def test_what_a_task_says_is_neither_markup_nor_an_order_to_the_terminal(ark: Ark) -> None:
    agent, stream = ark.pool.agent, ark.pool.queue.dead
    fields = {"prompt": "[/red] :smile: \x1b[2J", "ark.error": "[bold]broken[/x] \x1b]0;title\x07", "ark.attempts": "1"}
    words = [word for pair in fields.items() for word in pair]
    letter = (await ark.pool.stack.redis.execute_command("XADD", stream, "*", *words)).decode()
    for ended in (await ark("dead", "list", agent), await ark("dead", "show", agent, letter)):
        assert ended.code == 0, ended.err
        assert "[bold]broken[/x]" in ended.out
        assert "\x1b" not in ended.out
    assert "[/red] :smile:" in (await ark("dead", "show", agent, letter)).out
    assert (await ark("dead", "list", agent, "--after", "nonsense")).code == 2


async def test_what_a_person_may_not_do_is_said_in_kubectls_words(ark: Ark) -> None:
    stack = ark.pool.stack
    token = (await stack.kubectl("create", "token", "default")).strip()
    config = yaml.safe_load(stack.access.kubectl.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": token}
    weak = stack.access.kubectl.kubeconfig.with_name(f"weak-{stack.namespace}")
    weak.write_text(yaml.safe_dump(config))
    try:
        refused = await ark("status", KUBECONFIG=str(weak))
        assert (refused.code, refused.out) == (3, "")
        assert "Forbidden" in refused.err
        checked = await ark("doctor", KUBECONFIG=str(weak))
        assert "you may not patch arkagents" in checked.out
        assert "unknown" in checked.out
    finally:
        weak.unlink()


async def test_the_pages_of_a_pool_at_work_are_searched_for_prompts_and_keys(ark: Ark) -> None:
    """Each test's end looks for them; this one sees that there is something to look at."""
    stack = ark.pool.stack
    await ark.pool.submit([30.0])
    agents = f"{ark.pool.agent}-agent"
    await ark.pool.reaches(1)
    await stack.ready(agents)
    found = await asyncio.to_thread(lambda: list(pages(stack.access, stack.namespace)))
    for metric in ("ark_agent_tasks_in_flight", "ark_scaler_redis_up"):
        assert any(metric in page for page in found)
    assert any(page == "ok\n" for page in found)
