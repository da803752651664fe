"""The cluster's commands, and what they say of bad input and missing tools."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


def run(module: str, *flags: str, path: str | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", f"hack.cluster.{module}", *flags],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PATH": path or os.environ["PATH"], **environment},
    )


@pytest.fixture
def bare(tmp_path: Path) -> str:
    """A PATH without any program."""
    return str(tmp_path)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--cluster=kind"], "docker is not on the PATH; CLUSTER=kind needs docker, kind and kubectl"),
        (["--cluster=current"], "kubectl is not on the PATH: install it, or use CLUSTER=local"),
        (["--cluster=local"], "Go is needed to build Kubernetes and KEDA (once): install Go 1.26 or newer"),
    ],
)
def test_a_missing_tool_is_named_with_what_to_do(bare: str, flags: list[str], message: str) -> None:
    ended = run("e2e", *flags, path=bare, XDG_CACHE_HOME=bare)
    assert ended.returncode == 1
    assert message in ended.stderr
    assert "Traceback" not in ended.stderr


def test_kind_asks_for_kedas_manifest(tmp_path: Path) -> None:
    for tool in ("docker", "kind", "kubectl"):
        (tmp_path / tool).write_text("#!/bin/sh\nexit 9\n")
        (tmp_path / tool).chmod(0o755)
    ended = run("e2e", "--cluster=kind", path=str(tmp_path))
    assert ended.returncode == 1
    assert "download keda-2.21.0.yaml from KEDA's release page and name it, KEDA_MANIFEST=" in ended.stderr


def test_a_current_cluster_that_does_not_answer_is_said_so(tmp_path: Path) -> None:
    kubectl = tmp_path / "kubectl"
    kubectl.write_text("#!/bin/sh\necho 'The connection to the server was refused' >&2\nexit 1\n")
    kubectl.chmod(0o755)
    ended = run("e2e", "--cluster=current", path=str(tmp_path))
    assert ended.returncode == 1
    assert "the current cluster is not usable, or has no KEDA: The connection to the server was refused" in ended.stderr


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--minutes=0"], "--minutes: '0' is not a number above 0"),
        (["--max-replicas=0"], "--max-replicas: '0' is not a whole number from 1 to 100"),
        (["--picture=x.docx"], "'x.docx' does not end in .png or .svg"),
        (["--trace=/nowhere.csv"], "trace /nowhere.csv cannot be read"),
        (["--from-minute=9999"], "the trace has no request from minute 9999 to 10004"),
    ],
)
def test_bad_input_of_the_demo_ends_with_a_line_that_names_it(flags: list[str], message: str) -> None:
    ended = run("demo", *flags)
    assert ended.returncode == 2
    assert message in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("url", "queue", "message"),
    [
        ("redis://127.0.0.1:1/0", "demo/writer", "submit: "),
        ("redis://127.0.0.1:1/0", "writer", "submit: "),
        ("http://x", "demo/writer", "submit: "),
    ],
)
def test_submitting_says_what_is_wrong(url: str, queue: str, message: str) -> None:
    ended = run("submit", url, queue)
    assert ended.returncode == 1
    assert ended.stderr.startswith(message)
    assert "Traceback" not in ended.stderr
