"""kubectl as the way to Kubernetes: its contexts, its logins, its proxies, without a second configuration."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

from ark_api.names import API_GROUP, API_VERSION, PLURAL
from ark_cli.errors import CliError, Exit, Forbidden, NotThere

Object: TypeAlias = "dict[str, Any]"
AGENTS_API = f"/apis/{API_VERSION}"
_REQUEST_SECONDS = 15
_PROCESS_SECONDS = 20.0
_NO_CLUSTER = re.compile(r"current-context|cannot locate context|context .*(?:does not exist|was not found)")
_IN_CLUSTER_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


@dataclass(frozen=True, slots=True)
class Where:
    """Which cluster and which namespace, as people tell kubectl."""

    kubeconfig: str | None = None
    context: str | None = None
    namespace: str | None = None
    """None for the context's own."""
    everywhere: bool = False
    """Whether all namespaces are meant."""


class Kubectl:
    """Runs kubectl.

    Args:
        where: the cluster.
    """

    def __init__(self, where: Where) -> None:
        self.where = where

    @cached_property
    def _program(self) -> str:
        found = os.environ.get("ARK_KUBECTL") or shutil.which("kubectl")
        if found is None:
            raise CliError("kubectl is required, but not on the PATH: install it, or set ARK_KUBECTL to its path")
        return found

    def command(self, *arguments: str, seconds: float | None = _REQUEST_SECONDS) -> list[str]:
        """Return a whole command line.

        Args:
            arguments: what follows kubectl's name.
            seconds: the most that one request may take; None for a command that stays.

        Raises:
            CliError: there is no kubectl.
        """
        where = self.where
        return [
            self._program,
            *([f"--kubeconfig={where.kubeconfig}"] if where.kubeconfig else []),
            *([f"--context={where.context}"] if where.context else []),
            *([f"--request-timeout={seconds:g}s"] if seconds is not None else []),
            *arguments,
        ]

    async def run(self, *arguments: str, stdin: str | None = None) -> str:
        """Run a command and return what it printed.

        Raises:
            NotThere, Forbidden: what the API server says.
            CliError: any other failure, with kubectl's own words.
        """
        try:
            process = await asyncio.create_subprocess_exec(
                *self.command(*arguments), stdin=DEVNULL if stdin is None else PIPE, stdout=PIPE, stderr=PIPE
            )
        except OSError as error:
            raise CliError(f"kubectl cannot be started: {error}") from error
        try:
            async with asyncio.timeout(_PROCESS_SECONDS):
                out, err = await process.communicate(None if stdin is None else stdin.encode())
        except TimeoutError:
            raise CliError(f"kubectl {arguments[0]} took longer than {_PROCESS_SECONDS:g} s") from None
        finally:
            if process.returncode is None:
                send(process, signal.SIGKILL)
                await process.wait()
        if process.returncode:
            raise failure(err.decode(errors="replace").strip())
        return out.decode()

    async def get(self, path: str) -> Object:
        """GET a path of the API server.

        Raises:
            NotThere, Forbidden, CliError: see `run`.
        """
        text = await self.run("get", "--raw", path)
        try:
            answer: Object = json.loads(text)
        except ValueError:
            raise CliError(f"the API server's answer to {path} is not JSON: {text[:200]!r}") from None
        return answer

    async def create(self, items: Sequence[Mapping[str, Any]]) -> list[Object]:
        """Create objects that are only asked, such as access reviews, and return what came back.

        Raises:
            NotThere, Forbidden, CliError: see `run`.
        """
        listed = {"apiVersion": "v1", "kind": "List", "items": list(items)}
        text = await self.run("create", "-o", "json", "-f", "-", stdin=json.dumps(listed))
        decoder, answers = json.JSONDecoder(), []
        while text := text.lstrip():  # kubectl prints one after the other, and no list
            answer, end = decoder.raw_decode(text)
            answers.append(answer)
            text = text[end:]
        return answers

    async def patch_agent(self, namespace: str, name: str, patch: Mapping[str, Any]) -> Object:
        """Change an ArkAgent by a merge patch, and return it.

        Raises:
            NotThere, Forbidden, CliError: see `run`.
        """
        text = await self.run(
            *("patch", f"{PLURAL}.{API_GROUP}", name, "-n", namespace, "--type=merge", "-o", "json"),
            *("--field-manager=kubectl-ark", "-p", json.dumps(patch)),
        )
        answer: Object = json.loads(text)
        return answer

    async def namespace(self) -> str:
        """Return the namespace that is meant: the option's, the context's, the Pod's own, or ``default``.

        Raises:
            CliError: see `run`.
        """
        if self.where.namespace is not None:
            return self.where.namespace
        said = await self.run("config", "view", "--minify", "-o", "jsonpath={..namespace}")
        if said.strip():
            return said.strip()
        return _pods_namespace() or "default"


def _pods_namespace() -> str | None:
    """Return the namespace of the Pod that this runs in; None where it runs in none."""
    if "KUBERNETES_SERVICE_HOST" not in os.environ or not _IN_CLUSTER_NAMESPACE.exists():
        return None
    return _IN_CLUSTER_NAMESPACE.read_text().strip()


def failure(said: str) -> CliError:
    """Return the error for what kubectl said when it failed."""
    if _NO_CLUSTER.search(said):
        return CliError(f"kubectl does not know which cluster is meant: {said}")
    if "(NotFound)" in said:
        return NotThere(said)
    if "(Forbidden)" in said:
        return Forbidden(said)
    if "unknown flag" in said:
        return CliError(said, Exit.USAGE)
    return CliError(said or "kubectl failed and said nothing")


def send(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    """Send a signal to a child process that may just have ended.

    Its own methods look first, and take its exit code away from the event loop, which then complains on standard error.
    """
    with suppress(ProcessLookupError):
        os.kill(process.pid, number)
