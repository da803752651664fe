"""What a release publishes: where it comes from is said, and catalogues would take it."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from hack.publish import ICON, PACKAGES, ROOT, NotPublished, krew_manifest, published_chart, version

REPOSITORY = "https://git.example/ark-authors/ark"

# Artifact Hub's rules for a package: docs/metadata/artifacthub-pkg.yml and internal/pkg/metadata.go of artifacthub/hub.
# What it does not know, it ignores, so a misspelled field would be lost without a word.
REQUIRED = {"version", "name", "displayName", "createdAt", "description"}
STRINGS = REQUIRED | {"category", "license", "appVersion", "logoPath", "install"}
FLAGS = {"operator", "prerelease", "deprecated", "containsSecurityUpdates"}
LISTS = {"keywords", "links", "changes", "recommendations", "screenshots"}
CATEGORIES = {
    "ai-machine-learning",
    "database",
    "integration-delivery",
    "monitoring-logging",
    "networking",
    "security",
    "storage",
    "streaming-messaging",
    "skip-prediction",
}


def problems(package: dict[str, Any]) -> list[str]:
    """Return what Artifact Hub would refuse or ignore."""
    found = [f"{name} is missing" for name in sorted(REQUIRED - package.keys())]
    for name, value in package.items():
        kinds = ((STRINGS, str), (FLAGS, bool), (LISTS, list), ({"provider"}, dict))
        kind = next((kind for names, kind in kinds if name in names), None)
        if kind is None:
            found.append(f"{name} is unknown")
        elif not isinstance(value, kind) or value == "":
            found.append(f"{name} is no {kind.__name__}")
    if not re.fullmatch(r"\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?", str(package.get("version"))):
        found.append("version is not semantic")
    if package.get("category") not in CATEGORIES:
        found.append("category is unknown")
    if not re.fullmatch(r"[A-Za-z0-9-]+", str(package.get("name"))):
        found.append("name has other characters")
    return found


def test_artifact_hub_would_list_the_scaler() -> None:
    folder = ROOT / "artifacthub"
    package = yaml.safe_load((folder / "artifacthub-pkg.yml").read_text())
    assert problems(package) == []
    assert datetime.fromisoformat(package["createdAt"]).tzinfo is not None
    assert (folder / package["logoPath"]).read_text().startswith("<svg")
    assert (folder / "README.md").is_file()
    assert package["version"] == version()


def test_a_package_with_faults_would_not_be_listed() -> None:
    package = {"name": "a b", "version": "one", "displayname": "x", "operator": "yes", "category": "ai"}
    assert problems(package) == [
        "createdAt is missing",
        "description is missing",
        "displayName is missing",
        "displayname is unknown",
        "operator is no bool",
        "version is not semantic",
        "category is unknown",
        "name has other characters",
    ]


def test_the_published_chart_says_where_it_comes_from(tmp_path: Path) -> None:
    folder = published_chart(REPOSITORY, "images.example/ark", tmp_path)
    before = yaml.safe_load((ROOT / "charts" / "ark" / "Chart.yaml").read_text())
    chart = yaml.safe_load((folder / "Chart.yaml").read_text())
    assert chart["home"] == REPOSITORY
    assert chart["sources"] == [REPOSITORY]
    assert chart["icon"] == f"{REPOSITORY}/raw/v{version()}/docs/icon.svg"
    assert (ROOT / ICON).is_file()
    assert all(chart[name] == value for name, value in before.items() if name != "annotations")
    assert chart["annotations"].items() >= before["annotations"].items()
    assert yaml.safe_load(chart["annotations"]["artifacthub.io/images"]) == [
        {"name": "ark", "image": f"images.example/ark:{version()}"}
    ]
    assert chart["annotations"]["artifacthub.io/prerelease"] == "false"
    kinds = {crd["kind"] for crd in yaml.safe_load(chart["annotations"]["artifacthub.io/crds"])}
    assert kinds == {"ArkAgent"}


def test_krews_manifest_has_each_archive_with_its_digest(tmp_path: Path) -> None:
    for name in ("kubectl-ark_linux_amd64.tar.gz", "kubectl-ark_darwin_arm64.tar.gz", "notes.txt"):
        (tmp_path / name).write_text(name)
    spec = yaml.safe_load(krew_manifest(REPOSITORY, tmp_path))["spec"]
    assert spec["version"] == f"v{version()}"
    assert [
        (item["selector"]["matchLabels"], item["uri"].rpartition("/")[2], item["sha256"]) for item in spec["platforms"]
    ] == [
        ({"os": system, "arch": machine}, name, hashlib.sha256(name.encode()).hexdigest())
        for system, machine in (("darwin", "arm64"), ("linux", "amd64"))
        for name in [f"kubectl-ark_{system}_{machine}.tar.gz"]
    ]


def test_a_folder_without_an_archive_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotPublished, match=r"has no kubectl-ark_<os>_<arch>\.tar\.gz"):
        krew_manifest(REPOSITORY, tmp_path)


def test_the_plugin_has_every_package_that_it_imports() -> None:
    said = "import sys, ark_cli.main; print(*{name.partition('.')[0] for name in sys.modules})"
    imported = subprocess.run([sys.executable, "-c", said], capture_output=True, text=True, check=True).stdout.split()
    ours = {name for name in imported if name.startswith("ark_")}
    assert ours == {package.partition("@")[0] for package in PACKAGES}
