"""Rules, alerts and dashboard on a real Prometheus that scrapes agents at work, a scaler and an operator."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from hack import dashboard
from hack.cluster import manifests, operator_manifests, programs
from hack.cluster.helm import CHART
from hack.local.process import ChildProcess, free_port
from tests.cluster.stack import Pool, Stack
from tests.cluster.test_operator import make, with_operator
from tests.eventually import eventually

RULES = CHART / "files" / "rules.yaml"
TESTS = Path(__file__).resolve().parents[1] / "monitoring" / "rules_test.yaml"
_COMPARED = re.compile(r"(==|!=|>=|<=|>|<)(?=\s+[\d.]+\s*$)")


def tool(name: str) -> Path:
    return programs.ensure((programs.PROMETHEUS,)).path(programs.PROMETHEUS, name)


def promtool(*arguments: str) -> None:
    ended = subprocess.run([tool("promtool"), *arguments], capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"] if "alert" in rule]


def test_the_rules_are_what_promtool_takes() -> None:
    promtool("check", "rules", "--lint=all", "--lint-fatal", str(RULES))


def test_each_alert_comes_when_it_should_and_only_then(tmp_path: Path) -> None:
    rules = yaml.safe_load(RULES.read_text())
    for group in rules["groups"]:
        for rule in group["rules"]:
            rule.get("annotations", {}).pop("runbook", None)  # long, and compared word by word
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rules))
    (tmp_path / "tests.yaml").write_text(TESTS.read_text())
    promtool("test", "rules", str(tmp_path / "tests.yaml"))
    tested = {
        case["alertname"]
        for test in yaml.safe_load(TESTS.read_text())["tests"]
        for case in test.get("alert_rule_test", [])
        if "exp_alerts" in case
    }
    assert tested == {rule["alert"] for rule in alerts()}


def test_every_alert_says_what_is_wrong_and_what_to_do() -> None:
    for rule in alerts():
        assert set(rule["annotations"]) == {"summary", "runbook"}
        assert rule["labels"]["severity"] in ("info", "warning", "critical")


def test_the_dashboard_is_what_its_panels_say() -> None:
    assert dashboard.FILE.read_text() == dashboard.text(), "run python -m hack.dashboard"


class Prometheus(ChildProcess):
    """A Prometheus with the chart's rules, which scrapes each second.

    Args:
        folder: gets its files.
        targets: addresses with labels, by job.
    """

    def __init__(self, folder: Path, targets: dict[str, list[tuple[str, dict[str, str]]]]) -> None:
        self.port = free_port()
        jobs = [
            {
                "job_name": job,
                "static_configs": [{"targets": [address], "labels": labels} for address, labels in found],
            }
            for job, found in targets.items()
        ]
        intervals = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        config = {"global": intervals, "rule_files": [str(RULES)], "scrape_configs": jobs}
        file = folder / "prometheus.yaml"
        file.write_text(yaml.safe_dump(config))
        super().__init__(
            [
                str(tool("prometheus")),
                f"--config.file={file}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{self.port}",
            ],
            folder / "prometheus.log",
        )

    async def ready(self) -> None:
        """Return when it answers queries: it listens before it can, and says 503 until then."""

        def read() -> bool:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/-/ready", timeout=10) as answer:
                    return bool(answer.status == 200)
            except urllib.error.HTTPError as error:
                if error.code == 503:
                    return False
                raise
            except urllib.error.URLError as error:
                if isinstance(error.reason, ConnectionRefusedError):
                    return False
                raise

        await eventually(lambda: asyncio.to_thread(read), "Prometheus is ready", 60, every=0.1)

    async def ask(self, expression: str) -> list[Any]:
        """Return the samples of an expression."""
        query = urllib.parse.urlencode({"query": expression})

        def read() -> Any:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/v1/query?{query}", timeout=10) as answer:
                return json.load(answer)

        return list((await asyncio.to_thread(read))["data"]["result"])


def always(expression: str) -> str:
    """Return an alert's expression so that it has a sample whether the alert comes or not."""
    if expression.startswith("absent("):
        return expression.removeprefix("absent(").removesuffix(")")
    made, times = _COMPARED.subn(r"\1 bool", expression)
    assert times == 1, expression
    return made


def asked_of(expression: str) -> str:
    """Return a panel's expression as Grafana sends it with all agents chosen."""
    found = expression.replace("$namespace", ".*").replace("$agent", ".*").replace("$__rate_interval", "1m")
    assert "$" not in found, expression
    return found


async def targets(stack: Stack, agent: str) -> dict[str, list[tuple[str, dict[str, str]]]]:
    """Return what is to be scraped."""
    found: dict[str, list[tuple[str, dict[str, str]]]] = {"ark-agents": []}
    for app in (manifests.SCALER, operator_manifests.ACCOUNT):
        found[app] = [(f"{pod['status']['podIP']}:8080", {}) for pod in await stack.pods(app)]
    listed = await stack.api.get(
        f"/api/v1/namespaces/{stack.namespace}/pods", labelSelector=f"arkonis.dev/deployment={agent}"
    )
    for pod in listed["items"]:
        labels = {"namespace": stack.namespace, "agent": agent}
        found["ark-agents"].append((f"{pod['status']['podIP']}:8080", labels))
    return found


@pytest.fixture
async def busy(stack: Stack) -> AsyncIterator[Pool]:
    """An agent with a token limit, at work, with a dead letter."""
    async with with_operator(stack) as governed:
        limits = {"timeoutSeconds": 100, "maxDailyTokens": 100_000, "maxTokensPerCall": 1000, "maxRetries": 1}
        pool = await make(governed, autoscaling={"maxReplicas": 2, "minReplicas": 1}, limits=limits)
        await pool.accepted()
        await pool.producer.submit("fails", meta={"failing_attempts": 99})
        await pool.reaches(1)
        await governed.ready(f"{pool.agent}-agent")  # until then its Pod has no address
        yield pool


@pytest.fixture
def running(tmp_path: Path) -> Iterator[list[Prometheus]]:
    """Ends what a test starts."""
    started: list[Prometheus] = []
    yield started
    for process in started:
        process.stop()


@pytest.mark.timeout(300)
async def test_every_panel_and_every_alert_has_data_from_agents_at_work(
    busy: Pool, running: list[Prometheus], tmp_path: Path
) -> None:
    [pod] = (await targets(busy.stack, busy.agent))["ark-agents"]
    assert pod
    prometheus = Prometheus(tmp_path, await targets(busy.stack, busy.agent))
    running.append(prometheus)
    await prometheus.ready()
    done = asyncio.Event()

    async def load() -> None:
        while not done.is_set():
            meta = {"latency_seconds": 0.2, "input_tokens": 60, "output_tokens": 40}
            await busy.producer.submit("x", meta=meta)
            await asyncio.sleep(0.3)

    wanted = {rule["alert"]: always(rule["expr"]) for rule in alerts()}
    for row in dashboard.ROWS.values():
        for panel in row:
            for legend, expression in panel.queries.items():
                wanted[f"{panel.title}: {legend}"] = asked_of(expression)
    missing = dict(wanted)
    # Only while an agent's tokens are used up; a promtool test has it.
    del missing["Restored in: {{namespace}}/{{agent}}"]

    async def all_there() -> bool:
        for name, expression in list(missing.items()):
            if await prometheus.ask(expression):
                del missing[name]
        return not missing

    async with asyncio.TaskGroup() as group:
        group.create_task(load())
        try:
            await eventually(all_there, "data for everything", 120, every=1.0)
        except AssertionError:
            pytest.fail(f"no data for {missing}")
        finally:
            done.set()
    namespace = busy.stack.namespace
    [demand] = await prometheus.ask(f'ark:pool_capacity_tasks:max{{namespace="{namespace}"}}')
    assert float(demand["value"][1]) in (5, 10)  # of one agent, or of both where the load has called the second
    [dead] = await prometheus.ask(f'ark:queue_dead_letters:max{{queue="{namespace}/writer"}}')
    assert float(dead["value"][1]) == 1
