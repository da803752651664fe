"""The programs of a control plane: kept in the cache, built with Go, and what is said when that cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest

from hack.cluster import programs
from hack.cluster.programs import ETCD, FAMILIES, CannotBuild, ensure


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is the whole PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def test_without_go_a_person_is_told_what_to_install_or_to_use_kind(tools: Path, tmp_path: Path) -> None:
    with pytest.raises(CannotBuild, match=r"install Go 1\.26 or newer.*CLUSTER=kind needs no Go"):
        ensure(cache=tmp_path / "cache")


def test_what_is_in_the_cache_needs_no_go(tools: Path, tmp_path: Path) -> None:
    folder = tmp_path / f"etcd-{ETCD.version}-{programs._fingerprint(ETCD)}"
    folder.mkdir()
    assert ensure((ETCD,), tmp_path).path(ETCD, "etcd") == folder / "bin" / "etcd"


def test_a_build_that_fails_says_what_go_said_and_leaves_nothing(
    tools: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    go = tools / "go"
    go.write_text("#!/bin/sh\necho 'go: requires go >= 1.26.0 (running go 1.19.8)' >&2\nexit 1\n")
    go.chmod(0o755)
    cache = tmp_path / "cache"
    with pytest.raises(CannotBuild, match=r"Go 1\.26 or newer is needed(.|\n)*running go 1\.19\.8"):
        ensure((ETCD,), cache)
    assert [path.name for path in cache.iterdir()] == ["etcd.lock"]
    assert "building etcd" in capfd.readouterr().err


def test_the_cache_is_keyed_by_whatever_changes_the_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {programs._fingerprint(family) for family in FAMILIES}
    monkeypatch.setattr(programs, "_LAYOUT", "another")
    assert len(keys | {programs._fingerprint(family) for family in FAMILIES}) == 2 * len(FAMILIES)


def test_every_family_is_pinned() -> None:
    for family in FAMILIES:
        folder = Path(programs.__file__).with_name("tools") / family.name
        assert family.version.startswith("v")
        assert f"{family.module} {family.version} h1:" in (folder / "go.sum").read_text()
