"""``make image``: with whatever can build here, and without what no program uses."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hack.reference.pages import ROOT

SCRIPTS = ROOT / "hack" / "image"


def tool(folder: Path, name: str, *, works: bool) -> None:
    """Put a program on the PATH that says what it is asked to build; one that does not work has no daemon."""
    program = folder / name
    program.write_text(f'#!/bin/sh\n[ "$1" = info ] && exit {0 if works else 1}\necho {name} "$@"\n')
    program.chmod(0o755)


def built(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    for name in ("sh", "dirname"):
        (folder / name).symlink_to(
            next(Path(place, name) for place in ("/bin", "/usr/bin") if Path(place, name).exists())
        )
    return subprocess.run(
        [str(SCRIPTS / "build.sh"), *arguments],
        env={**os.environ, "PATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_it_builds_with_the_first_tool_that_works(tmp_path: Path) -> None:
    tool(tmp_path, "docker", works=False)
    tool(tmp_path, "podman", works=True)
    tool(tmp_path, "buildah", works=True)
    ended = built(tmp_path, "ark:1", "mirror.example/python:3.13-slim")
    assert ended.stdout == "podman build --tag ark:1 --build-arg BASE=mirror.example/python:3.13-slim .\n"


def test_without_a_mirror_the_dockerfile_says_what_the_base_is(tmp_path: Path) -> None:
    tool(tmp_path, "docker", works=True)
    assert built(tmp_path, "ark:1", "").stdout == "docker build --tag ark:1 .\n"


def test_without_a_tool_it_says_what_it_needs(tmp_path: Path) -> None:
    ended = built(tmp_path, "ark:1")
    assert ended.returncode == 1
    assert ended.stderr == "image: needs docker (running), podman or buildah\n"


def test_pruning_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "lib" / "python3.13" / "site-packages" / "kubernetes" / "client" / "models").mkdir(parents=True)
    kept = tmp_path / "lib" / "python3.13" / "site-packages" / "kubernetes" / "client" / "models" / "pod.py"
    kept.write_text("")
    ended = subprocess.run(
        ["sh", str(SCRIPTS / "prune.sh"), str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    assert "is not as expected" in ended.stderr
    assert kept.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="the image's Python packages are Linux', and so is this sed")
def test_the_programs_of_the_image_run_below_an_init(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    programs = [tmp_path / "bin" / name for name in ("ark-scaler", "ark-operator", "ark-agent")]
    for program in programs:
        program.write_text(f"#!{tmp_path}/bin/python3\nimport sys\n")
    command = ["sh", str(SCRIPTS / "first.sh"), str(tmp_path)]
    subprocess.run(command, check=True)
    first = f"#!{tmp_path}/bin/dumb-init {tmp_path}/bin/python3\nimport sys\n"
    assert [program.read_text() for program in programs] == [first] * 3
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == 1
    assert "does not begin with its Python" in again.stderr
