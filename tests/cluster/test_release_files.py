"""What a release is made with, as those who read it would judge it. Needs the built programs, no cluster."""

from __future__ import annotations

import os
import re
import subprocess
import tarfile
from pathlib import Path

import pytest
import yaml

from hack.cluster import programs
from hack.cluster.helm import helm
from hack.publish import ROOT, krew_manifest, published_chart, version

REPOSITORY = "https://git.example/ark-authors/ark"
IMAGE = "images.example/ark-authors/ark"


def judged(family: programs.Family, program: str, *arguments: str, **environment: str) -> tuple[int, str]:
    """Return the exit code of a program, and all that it said."""
    path = programs.ensure((family,)).path(family, program)
    ended = subprocess.run(
        [str(path), *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return ended.returncode, ended.stdout + ended.stderr


def test_actionlint_finds_nothing_in_the_workflows(tmp_path: Path) -> None:
    workflows = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
    assert len(workflows) >= 3
    alone = ("-shellcheck=", "-pyflakes=", "-no-color")  # not with what this machine happens to have
    assert judged(programs.ACTIONLINT, "actionlint", *alone, *map(str, workflows)) == (0, "")
    broken = tmp_path / "broken.yml"
    broken.write_text(workflows[0].read_text().replace("runs-on:", "run-on:"))
    code, said = judged(programs.ACTIONLINT, "actionlint", *alone, str(broken))
    assert code == 1
    assert "run-on" in said


def test_krew_installs_the_plugin_by_its_manifest(tmp_path: Path) -> None:
    program = tmp_path / "kubectl-ark"
    program.write_text("#!/bin/sh\necho started with $1\n")
    program.chmod(0o755)
    archives = [
        tmp_path / f"kubectl-ark_{system}_{machine}.tar.gz"
        for system in ("linux", "darwin")
        for machine in ("amd64", "arm64")
    ]
    for archive in archives:
        with tarfile.open(archive, "w:gz") as tar:
            tar.add(program, "kubectl-ark")
    manifest = tmp_path / "ark.yaml"
    manifest.write_text(krew_manifest(REPOSITORY, tmp_path))
    environment = {"KREW_ROOT": str(tmp_path / "krew")}
    install = ("install", f"--manifest={manifest}", f"--archive={archives[0]}")
    [digest, *_] = re.findall("sha256: (.*)", manifest.read_text())

    correct = manifest.read_text()
    manifest.write_text(re.sub("sha256: .*", f"sha256: {digest[::-1]}", correct))
    code, said = judged(programs.KREW, "krew", *install, **environment)
    assert code != 0
    assert "checksum does not match" in said
    manifest.write_text(correct)
    code, said = judged(programs.KREW, "krew", *install, **environment)
    assert code == 0, said
    installed = subprocess.run(
        [str(tmp_path / "krew" / "bin" / "kubectl-ark"), "status"], capture_output=True, text=True, check=True
    )
    assert installed.stdout == "started with status\n"


@pytest.mark.parametrize("published", [False, True])
def test_helm_finds_nothing_in_the_chart(tmp_path: Path, published: bool) -> None:
    chart = published_chart(REPOSITORY, IMAGE, tmp_path) if published else ROOT / "charts" / "ark"
    said = helm().run("lint", "--strict", str(chart), "--set", "redis.bundled.enabled=true")
    assert "1 chart(s) linted, 0 chart(s) failed" in said
    assert ("icon is recommended" in said) is not published


def test_the_published_chart_runs_the_image_that_it_names(tmp_path: Path) -> None:
    chart = published_chart(REPOSITORY, IMAGE, tmp_path)
    given = ("--set", "redis.bundled.enabled=true", "--set", "tls.enabled=false")
    objects = [item for item in yaml.safe_load_all(helm().run("template", "ark", str(chart), *given)) if item]
    containers = [
        container
        for item in objects
        if item["kind"] == "Deployment" and item["metadata"]["name"] in {"ark-scaler", "ark-operator"}
        for container in item["spec"]["template"]["spec"]["containers"]
    ]
    annotations = yaml.safe_load((chart / "Chart.yaml").read_text())["annotations"]
    [named] = yaml.safe_load(annotations["artifacthub.io/images"])
    assert {container["image"] for container in containers} == {named["image"]} == {f"{IMAGE}:{version()}"}
    agents = [value["value"] for item in containers for value in item["env"] if value["name"] == "ARK_OPERATOR_IMAGE"]
    assert agents == [named["image"]]
