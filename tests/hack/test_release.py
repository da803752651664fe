"""A release: one version in every file that repeats it, and a dated changelog."""

from __future__ import annotations

import re
import subprocess
import tomllib
from datetime import date
from pathlib import Path

import pytest

from hack.release import ROOT, NotReleased, release, released, repeated

TODAY = date(2026, 12, 1)
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
TEXTS = {name: (ROOT / name).read_text() for name in (*repeated(VERSION), "CHANGELOG.md")}


def test_a_release_changes_every_file_that_has_the_version() -> None:
    changed = released(TEXTS, VERSION, "9.8.7", TODAY)
    for name, words in repeated("9.8.7").items():
        assert all(word in changed[name] for word in words)
        assert not re.search(rf"\bark:{re.escape(VERSION)}\b", changed[name])
    assert 'createdAt: "2026-12-01T00:00:00Z"' in changed["artifacthub/artifacthub-pkg.yml"]
    assert "prerelease: true" in released(TEXTS, VERSION, "9.8.7-rc.1", TODAY)["artifacthub/artifacthub-pkg.yml"]
    assert "## [Unreleased]\n\n## [9.8.7] - 2026-12-01\n\n### Added" in changed["CHANGELOG.md"]


def test_no_other_file_names_the_version_of_the_image() -> None:
    """Else a release would leave it behind."""
    found = subprocess.run(
        ["git", "grep", "-lE", rf"\bark:{re.escape(VERSION)}\b", "--", ":!tests"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert set(found.stdout.split()) <= set(repeated(VERSION))


@pytest.mark.parametrize(
    ("new", "says"),
    [
        ("1.0", "is not a version"),
        ("v1.0.0", "is not a version"),
        ("1.0.0-final.1", "is not a version"),
        ("0.0.1", "is earlier than"),
        ("0.1.0-rc.1", "is earlier than"),
    ],
)
def test_a_version_that_is_none_or_not_later_is_refused(new: str, says: str) -> None:
    with pytest.raises(NotReleased, match=says):
        released(TEXTS, VERSION, new, TODAY)


def test_prereleases_are_in_order() -> None:
    for old, new in (("0.1.0-alpha.2", "0.1.0-beta.1"), ("0.1.0-rc.9", "0.1.0-rc.10"), ("0.1.0-rc.1", "0.1.0")):
        texts = released(TEXTS, VERSION, VERSION, TODAY)
        texts = {name: text.replace(VERSION, old) for name, text in texts.items()} | {
            "CHANGELOG.md": "## [Unreleased]\n\n- something\n"
        }
        assert f"## [{new}]" in released(texts, old, new, TODAY)["CHANGELOG.md"]


def test_a_release_without_a_change_is_refused() -> None:
    texts = {**TEXTS, "CHANGELOG.md": "# Changelog\n\n## [Unreleased]\n\n## [0.1.0] - 2026-11-01\n\n- something\n"}
    with pytest.raises(NotReleased, match="nothing under"):
        released(texts, VERSION, "0.2.0", TODAY)


def test_a_file_that_has_lost_the_version_stops_the_release() -> None:
    texts = {**TEXTS, "Dockerfile": "FROM scratch\n"}
    with pytest.raises(NotReleased, match="Dockerfile does not have"):
        released(texts, VERSION, "0.2.0", TODAY)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with the files of a release, of an author who is set up."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", "/dev/null")
    for kind in ("AUTHOR", "COMMITTER"):
        monkeypatch.delenv(f"GIT_{kind}_NAME", raising=False)
        monkeypatch.delenv(f"GIT_{kind}_EMAIL", raising=False)
    for name, text in TEXTS.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "config", "user.name", "Somebody")
    git(tmp_path, "config", "user.email", "somebody@example.com")
    git(tmp_path, "config", "user.useConfigOnly", "true")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message", "Begin")
    return tmp_path


def git(root: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True).stdout.strip()


def test_a_release_is_committed_and_tagged(repository: Path) -> None:
    release(repository, "9.8.7", TODAY)
    assert git(repository, "log", "-1", "--format=%s", "v9.8.7") == "Release 9.8.7"
    assert not git(repository, "status", "--porcelain")
    assert "appVersion: 9.8.7" in git(repository, "show", "v9.8.7:charts/ark/Chart.yaml")
    with pytest.raises(NotReleased, match=r"there is a tag v9\.8\.7 already"):
        release(repository, "9.8.7", TODAY)


def test_changes_that_are_not_committed_stop_a_release(repository: Path) -> None:
    (repository / "Dockerfile").write_text("changed")
    with pytest.raises(NotReleased, match="not committed"):
        release(repository, "9.8.7", TODAY)
    assert (repository / "Dockerfile").read_text() == "changed"


@pytest.mark.parametrize("fails", ["commit", "tag"])
def test_a_release_that_git_refuses_leaves_the_repository_as_it_was(repository: Path, fails: str) -> None:
    if fails == "commit":
        git(repository, "config", "--unset", "user.name")
    else:
        (repository / ".git" / "refs" / "tags" / "v9.8.7").mkdir()
        (repository / ".git" / "refs" / "tags" / "v9.8.7" / "in-the-way").write_text("x")
    head = git(repository, "rev-parse", "HEAD")
    with pytest.raises(NotReleased, match=f"git {fails} failed: "):
        release(repository, "9.8.7", TODAY)
    assert git(repository, "rev-parse", "HEAD") == head
    assert not git(repository, "status", "--porcelain")


def test_a_folder_that_is_no_repository_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(NotReleased, match=r"git status failed: .*not a git repository"):
        release(tmp_path, "9.8.7", TODAY)
