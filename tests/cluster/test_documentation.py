"""Every command of the documentation that needs a cluster, word for word, on one with nothing but KEDA.

What cannot be as it stands there is told from outside: without DNS a process cluster needs addresses, and the Redis of
the examples is a local one.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from hack.cluster import manifests
from hack.cluster.access import Access
from hack.cluster.control_plane import answers
from hack.cluster.helm import helm, process_cluster_values
from hack.local.process import ChildProcess, free_port
from hack.local.redis_server import RedisServer
from tests.cluster.conftest import not_ours
from tests.documentation import ON_A_CLUSTER, ROOT, blocks, commands, program

INSTALLED = (
    "README",
    *("guides/autoscaling", "guides/manual-scaling", "guides/budget", "guides/kubectl-ark"),
)
"""Pages for somebody who has done what the README says first."""
FROM_SCRATCH = ("get-started/cluster", "guides/install", "operations/upgrades", "operations/operator")
"""Pages that begin with a cluster without Ark."""
SAYS = {
    'kubectl ark submit writer "Hello" --wait': r"^Hello$",
    "kubectl ark status writer": r"1 completed",
    "kubectl ark doctor": r"No fault found\.",
    "kubectl describe arkagent writer": r"Type: +Autoscaling",
    "kubectl get scaledobject,hpa": r"keda-hpa-writer",
    "kubectl describe scaledobject writer": r"ScaledObjectReady",
    "kubectl ark pin writer 5 --for 2h": r"5",
    "kubectl ark budget writer": r"100,?000",
    "kubectl ark budget writer --limit 2000000": r"2,?000,?000",
    "kubectl get arkagent writer -o jsonpath='{.status.dailyTokenUsage}'": r'"totalTokens":\d+',
}
"""What is to be in a command's output; the others have to succeed."""
SECONDS = 60


@dataclass(slots=True)
class Reader:
    """Somebody who pastes one command after the other."""

    access: Access
    redis: RedisServer
    folder: Path

    def __post_init__(self) -> None:
        # Taken once, so that an upgrade has the addresses of the installation.
        self._values().write_text(yaml.safe_dump(process_cluster_values(self.access.kubectl)))

    def _values(self) -> Path:
        return self.folder / "values.yaml"

    @property
    def environment(self) -> dict[str, str]:
        programs = (helm().program.parent, self.access.kubectl.program.parent, Path(sys.executable).parent)
        path = os.pathsep.join([*map(str, programs), os.environ["PATH"]])
        return {**os.environ, "PATH": path, "KUBECONFIG": str(self.access.kubectl.kubeconfig)}

    def run(self, command: str) -> str:
        """Run a command, and return what it printed."""
        here = re.sub(r"redis\.[\w-]+(?:\.svc)?:6379", f"127.0.0.1:{self.redis.port}", command)
        if program(command) == "ark-operator":
            return self._start(here)
        if re.match(r"helm (install|upgrade) ", command):
            here += f" -f {self._values()}"
        ended = subprocess.run(
            ["bash", "-c", here],
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
            env=self.environment,
            cwd=ROOT,
        )
        assert ended.returncode == 0, f"{command}: {ended.stdout}{ended.stderr}"
        return ended.stdout

    def says(self, command: str) -> None:
        """Run a command until it says what it is to say: a status takes a moment."""
        wanted, deadline = SAYS.get(command, ""), time.monotonic() + SECONDS
        once = not wanted or "submit" in command
        while True:
            said = self.run(command)
            if re.search(wanted, said, re.MULTILINE):
                return
            if once or time.monotonic() > deadline:
                pytest.fail(f"{command} does not say {wanted!r}: {said}")
            time.sleep(0.5)

    def _start(self, command: str) -> str:
        """Run a program that stays, until it is ready."""
        port = free_port()
        name, *flags = shlex.split(command)
        started = [str(Path(sys.executable).parent / name), *flags, "--host=127.0.0.1", f"--http-port={port}"]
        with ChildProcess(started, self.folder / "log", environment=self.environment) as process:
            process.wait_until(lambda: answers(f"http://127.0.0.1:{port}/readyz"), SECONDS, command)
            assert process.stop() == 0
            return process.output()

    def cleanup(self) -> None:
        """Have a cluster without Ark again."""
        for command in (
            "kubectl delete arkagents -A --all --timeout=60s",
            "helm uninstall ark -n ark-system --wait",
            "kubectl delete -f operator/ark_operator/rbac.yaml --ignore-not-found",
            "kubectl delete namespace ark-system --ignore-not-found --timeout=60s",
            "kubectl delete crd arkagents.arkonis.dev --ignore-not-found --timeout=60s",
        ):
            # What was not there cannot go: the page or its failure decides what is.
            subprocess.run(shlex.split(command), env=self.environment, cwd=ROOT, timeout=120, check=False)
        assert "arkagents" not in self.run("kubectl get crd -o name")


@pytest.fixture
def reader(cluster: Access, tmp_path: Path) -> Iterator[Reader]:
    if not_ours():
        pytest.skip("the pages' commands remove definitions that other tests need")
    with RedisServer(tmp_path / "redis", options=["--requirepass", "secret"]) as redis:
        made = Reader(cluster, redis, tmp_path)
        try:
            yield made
        finally:
            made.cleanup()


def test_no_page_is_left_out() -> None:
    told = {page for page, command in commands() if program(command) in ON_A_CLUSTER}
    assert told == {*INSTALLED, *FROM_SCRATCH, "charts/ark/README"}
    assert set(commands("charts/ark/README")) <= {("charts/ark/README", command) for _, command in commands("README")}
    assert set(SAYS) <= {command for _, command in commands()}


@pytest.mark.timeout(500)
def test_who_follows_the_readme_has_an_agent_that_works_and_every_page_holds_for_it(reader: Reader) -> None:
    for page in INSTALLED:
        if page != "README":
            reader.run("kubectl ark auto writer")  # no page begins with the pin of the one before
        for _, command in commands(page):
            if program(command) in ON_A_CLUSTER:
                reader.says(command)
    for block in blocks("yaml"):
        for item in yaml.safe_load_all(block.text):
            item["metadata"].setdefault("namespace", "default")
            reader.access.kubectl.apply([manifests.namespace(item["metadata"]["namespace"])])
            item["metadata"]["name"] += "-documented"
            if "scaleTargetRef" in item["spec"]:
                item["spec"]["scaleTargetRef"]["name"] += "-documented"  # the agent's own has an autoscaler
            told = reader.access.kubectl.run(
                "apply", "--dry-run=server", "-f", "-", stdin=yaml.safe_dump(item), seconds=60
            )
            assert "server dry run" in told, block


@pytest.mark.timeout(300)
def test_who_gets_started_on_a_cluster_has_an_answer(reader: Reader) -> None:
    for _, command in commands("get-started/cluster"):
        if program(command) in ON_A_CLUSTER:
            reader.says(command)


@pytest.mark.timeout(500)
def test_each_way_to_install_works_on_a_cluster_without_ark(reader: Reader) -> None:
    installations = 0
    for _, command in commands("guides/install", "operations/upgrades"):
        if command.startswith("helm install"):
            installations += 1
        if "create namespace" in command and installations:
            reader.cleanup()  # another way to do the same
        if program(command) in ON_A_CLUSTER:
            reader.run(command)
    assert installations == 2


@pytest.mark.timeout(300)
def test_the_operator_runs_by_hand(reader: Reader) -> None:
    reader.redis.command("CONFIG", "SET", "requirepass", "")
    for _, command in commands("operations/operator"):
        reader.run(command)
