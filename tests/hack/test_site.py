"""The documentation site, built as ``make docs`` builds it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from hack.reference.pages import ROOT

LOADED = re.compile(
    r"<(?:script|img|iframe|source)[^>]*\ssrc=[\"']?(?:https?:)?//|"
    r"<link[^>]*\shref=[\"']?(?:https?:)?//(?![^>]*rel=[\"']?canonical)|url\([\"']?(?:https?:)?//|@import"
)
"""What makes a browser ask another host."""


def build(source: Path, site: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", str(source), "--site-dir", str(site)],
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    built = build(ROOT / "mkdocs.yml", folder)
    assert built.returncode == 0, built.stderr
    return folder


def test_no_page_loads_anything_from_another_host(site: Path) -> None:
    files = [path for kind in ("*.html", "*.css", "*.svg") for path in site.rglob(kind)]
    assert len(files) > 50
    for path in files:
        found = LOADED.search(path.read_text())
        assert found is None, f"{path.relative_to(site)}: {found}"


@pytest.mark.parametrize(
    ("page", "text"),
    [
        ("index.md", "[nowhere](nowhere.md)"),
        ("index.md", "[no section](guides/install.md#nowhere)"),
        ("orphan.md", "# Nobody links here"),
    ],
)
def test_a_broken_link_and_an_orphaned_page_fail(tmp_path: Path, page: str, text: str) -> None:
    (tmp_path / "docs" / "guides").mkdir(parents=True)
    (tmp_path / "docs" / "guides" / "install.md").write_text("# Install\n")
    (tmp_path / "docs" / "index.md").write_text("# Ark\n")
    with (tmp_path / "docs" / page).open("a") as file:
        file.write(f"\n{text}\n")
    config = (ROOT / "mkdocs.yml").read_text().partition("\nnav:")[0]
    config += "\nnav: [{Home: index.md}, {Install: guides/install.md}]\n"
    (tmp_path / "mkdocs.yml").write_text(config)
    built = build(tmp_path / "mkdocs.yml", tmp_path / "site")
    assert built.returncode != 0
    assert "Aborted with 1 warnings in strict mode" in built.stdout + built.stderr


def twelve_questions() -> list[tuple[str, str]]:
    """Return the questions of newcomers, and what a page must say to answer one."""
    return [
        ("guides/install", "redis.existingSecret.name"),
        ("operations/troubleshooting", "My pool is at zero"),
        ("guides/manual-scaling", "kubectl ark pin writer 5 --for"),
        ("guides/budget", "kubectl ark budget writer --limit"),
        ("guides/handler", "ark_agent.run"),
        ("guides/scaledobject", "external-push"),
        ("guides/monitoring", "metrics.dashboard.enabled"),
        ("operations/upgrades", "helm upgrade ark"),
        ("operations/upgrades", "helm uninstall ark"),
        ("guides/migrating", "pendingEntriesCount"),
        ("operations/sizing", "maxmemory-policy noeviction"),
        ("operations/certificates", "delete the two Secrets"),
    ]


@pytest.mark.parametrize(("page", "answer"), twelve_questions())
def test_the_front_page_links_to_the_answer_of_a_newcomers_question(site: Path, page: str, answer: str) -> None:
    assert f'href="{page}/"' in (site / "index.html").read_text()
    text = re.sub(r"<[^>]+>", "", (site / page / "index.html").read_text())
    assert answer in text
