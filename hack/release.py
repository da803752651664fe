"""Give the project a new version: ``make release VERSION=0.2.0``.

The version stands in pyproject.toml. What has to repeat it (the chart, the documentation's commands, the changelog) is
changed with it, committed, and tagged; nothing is pushed.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_VERSION = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-(alpha|beta|rc)\.(0|[1-9]\d*))?")
_CHANGELOG = "CHANGELOG.md"
_ARTIFACT_HUB = "artifacthub/artifacthub-pkg.yml"
_UNRELEASED = "## [Unreleased]\n"
_GIT_SECONDS = 60


class NotReleased(Exception):
    """The release cannot be made; the message says why, and nothing was changed."""


def repeated(version: str) -> dict[str, tuple[str, ...]]:
    """Return, by file, the lines or words that repeat a version."""
    image = f"ark:{version}"
    return {
        "pyproject.toml": (f'\nversion = "{version}"\n',),
        "charts/ark/Chart.yaml": (f"\nversion: {version}\n", f"\nappVersion: {version}\n"),
        _ARTIFACT_HUB: (f"\nversion: {version}\n", f"\nappVersion: {version}\n"),
        "Dockerfile": (f"docker build -t {image} .", f"registry.example/{image} --push"),
        "docs/get-started/cluster.md": (f"registry.example/{image}",),
        "docs/guides/install.md": (f"registry.example/{image}",),
        "docs/operations/operator.md": (f"--image={image}",),
    }


def released(texts: Mapping[str, str], old: str, new: str, today: date) -> dict[str, str]:
    """Return the texts of a release.

    Args:
        texts: by file, all of `repeated` and the changelog.
        old: the version in them.
        new: the version to be.
        today: when it is released.

    Raises:
        NotReleased: the new version is none or not later, a text does not have the old one, or nothing has changed.
    """
    match = _VERSION.fullmatch(new)
    if match is None:
        raise NotReleased(f"{new!r} is not a version: use MAJOR.MINOR.PATCH, or with -alpha.N, -beta.N or -rc.N")
    if _order(new) < _order(old):
        raise NotReleased(f"{new} is earlier than {old}, the version in pyproject.toml")
    changed = dict(texts)
    for (name, present), wanted in zip(repeated(old).items(), repeated(new).values(), strict=True):
        for is_now, will_be in zip(present, wanted, strict=True):
            if is_now not in changed[name]:
                raise NotReleased(f"{name} does not have {is_now.strip()!r}")
            changed[name] = changed[name].replace(is_now, will_be)
    listed = re.sub(r"(?m)^createdAt: .*$", f'createdAt: "{today.isoformat()}T00:00:00Z"', changed[_ARTIFACT_HUB])
    changed[_ARTIFACT_HUB] = re.sub(r"(?m)^prerelease: .*$", f"prerelease: {str('-' in new).lower()}", listed)
    before, heading, notes = texts[_CHANGELOG].partition(_UNRELEASED)
    if not notes.partition("\n## [")[0].strip():
        raise NotReleased(f"{_CHANGELOG} has nothing under {_UNRELEASED.strip()!r}")
    if f"## [{new}]" in notes:
        raise NotReleased(f"{_CHANGELOG} has a version {new} already")
    changed[_CHANGELOG] = f"{before}{heading}\n## [{new}] - {today.isoformat()}\n{notes}"
    return changed


def _order(version: str) -> tuple[int, int, int, str, int]:
    match = _VERSION.fullmatch(version)
    assert match is not None
    # A version without a suffix comes after all that have one: "~" is behind every letter.
    return int(match[1]), int(match[2]), int(match[3]), match[5] or "~", int(match[6] or 0)


def main() -> int:
    """Make the release; return the exit code."""
    parser = argparse.ArgumentParser(prog="make release", description=__doc__)
    parser.add_argument("version", help="MAJOR.MINOR.PATCH")
    new = parser.parse_args().version
    try:
        release(ROOT, new, datetime.now(UTC).date())
    except NotReleased as error:
        print(f"release: {error}", file=sys.stderr)
        return 1
    print(f"release: committed and tagged v{new}; to publish it: git push origin HEAD v{new}")
    return 0


def release(root: Path, new: str, today: date) -> None:
    """Change a repository's files, commit and tag them: all of it, or nothing.

    Args:
        root: the repository's folder.
        new: the version to be.
        today: when it is released.

    Raises:
        NotReleased: see `released`; or the repository is not clean, has the tag already, or git failed.
    """
    if _git(root, "status", "--porcelain"):
        raise NotReleased("there are changes that are not committed: commit or stash them first")
    if _git(root, "tag", "--list", f"v{new}"):
        raise NotReleased(f"there is a tag v{new} already")
    old = tomllib.loads((root / "pyproject.toml").read_text())["project"]["version"]
    texts = {name: (root / name).read_text() for name in (*repeated(old), _CHANGELOG)}
    changed = released(texts, old, new, today)
    before = _git(root, "rev-parse", "HEAD")
    try:
        for name, text in changed.items():
            (root / name).write_text(text)
        _git(root, "commit", "--quiet", "--all", "--message", f"Release {new}")
        _git(root, "tag", "--annotate", f"v{new}", "--message", f"Ark {new}")
    except BaseException as error:
        try:
            _git(root, "reset", "--quiet", "--hard", before)
        except NotReleased as another:
            raise NotReleased(
                f"{error}. The files could not be put back ({another}): git reset --hard {before}"
            ) from error
        raise


def _git(root: Path, *arguments: str) -> str:
    command = ["git", *arguments]
    try:
        # Hooks may take their time, and a signature may ask for a password: those who wait can press Ctrl-C.
        seconds = None if arguments[0] in {"commit", "tag"} else _GIT_SECONDS
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True, timeout=seconds)
    except subprocess.CalledProcessError as error:
        raise NotReleased(f"git {arguments[0]} failed: {error.stderr.strip() or error.stdout.strip()}") from error
    except subprocess.TimeoutExpired as error:
        raise NotReleased(f"git {arguments[0]} did not end within {_GIT_SECONDS} seconds") from error
    except OSError as error:
        raise NotReleased(f"git cannot be run: {error}") from error
    return done.stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
