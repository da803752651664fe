"""What the repository promises about itself."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]


def tracked(*patterns: str) -> list[Path]:
    listed = subprocess.run(["git", "ls-files", *patterns], cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / name for name in listed.stdout.splitlines()]


LOCKS = {
    "requirements.lock": 50,
    "requirements-image.lock": 30,
    "requirements-build.lock": 4,
    "requirements-plugin.lock": 12,
    "requirements-publish.lock": 2,
}
"""Each lock file, and how many packages it has at least."""


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_file_pins_by_hash_and_names_no_host(name: str) -> None:
    lock = (ROOT / name).read_text()
    assert "://" not in lock
    assert not re.search(r"^\s*(-i|--index-url|--extra-index-url|--find-links)", lock, re.MULTILINE)
    requirements = re.findall(r"^[a-z0-9][^\s=]*==\S+", lock, re.MULTILINE)
    assert len(requirements) >= LOCKS[name]
    for block in re.split(r"^(?=[a-z0-9])", lock, flags=re.MULTILINE)[1:]:
        assert "--hash=sha256:" in block, f"no hash: {block[:60]}"


_STREAMS = "KEYS[1...3]"
"""How a head names the streams of all priorities."""


def unlike_its_head(script: str) -> set[str]:
    """Return the keys and arguments that a script uses and its head does not explain, or the other way round."""
    comments = [line for line in script.splitlines() if line.startswith("--")]
    code = re.sub(r"--.*", "", script)
    explained = {
        match[1] for line in comments if (match := re.match(r"-- ((?:KEYS|ARGV)\[\d+(?:\.\.\.\d*)?\]) +\S", line))
    }
    used = set(re.findall(r"(?:KEYS|ARGV)\[\d+\]", code))
    if re.search(r"KEYS\[[a-z]|ipairs\(\{?KEYS|local streams\b.*KEYS", code) and "KEYS[1]" not in explained:
        used = used - {"KEYS[1]", "KEYS[2]", "KEYS[3]"} | {_STREAMS}
    rest = re.search(r"unpack\(ARGV, (\d+)\)|for i = (\d+), #ARGV|ipairs\(ARGV\)", code)
    if rest:
        used.add(f"ARGV[{rest[1] or rest[2] or 1}...]")
    return used ^ explained


@pytest.mark.parametrize("path", tracked("*.lua"), ids=lambda path: path.stem)
def test_a_script_says_what_each_of_its_keys_and_arguments_is(path: Path) -> None:
    script = path.read_text()
    assert unlike_its_head(script) == set()
    assert "KEYS" not in script or re.search(r"^-- KEYS\[1(?:\.\.\.3)?\]", script, re.MULTILINE)
    for line in re.findall(r"^-- (?:KEYS|ARGV)\[.*\n", script, re.MULTILINE):
        assert unlike_its_head(script.replace(line, "")), f"without this line nobody would know: {line}"


def test_the_readme_names_nothing_that_is_not_there() -> None:
    readme = (ROOT / "README.md").read_text()
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"\bmake ([a-z][a-z0-9-]*)", readme):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"no make target {target}"
    for link in re.findall(r"\]\(([a-z][^):#]*)[^):]*\)", readme):
        assert (ROOT / link).exists(), f"README links to {link}"


@pytest.mark.parametrize("page", tracked("*.md"), ids=lambda path: path.stem)
def test_a_page_names_no_source_file_that_is_not_there(page: Path) -> None:
    there = [f"/{path.relative_to(ROOT)}" for path in tracked("*.py", "*.lua")]
    for name in re.findall(r"`([\w./-]+\.(?:py|lua))`", page.read_text()):
        assert any(path.endswith(f"/{name}") for path in there), name


def test_the_image_gets_every_package_of_the_wheel() -> None:
    """Hatchling builds a wheel without those that are not there, and says nothing."""
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"][
        "packages"
    ]
    folders = {package.partition("/")[0] for package in packages}
    copied = re.findall(r"^COPY (\w+) \1$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    let_in = re.findall(r"^!(\w+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    assert folders == set(copied) == set(let_in)


def test_triggers_in_the_documentation_are_such_as_the_scaler_takes() -> None:
    from ark_scaler.decision.trigger import parse

    triggers = [
        trigger
        for path in tracked("README.md", "docs/*.md", "docs/**/*.md")
        for block in re.findall(r"^```yaml\n(.*?)^```", path.read_text(), re.MULTILINE | re.DOTALL)
        for item in yaml.safe_load_all(block)
        if item.get("kind") == "ScaledObject"
        for trigger in item["spec"]["triggers"]
    ]
    assert len(triggers) >= 2
    for trigger in triggers:
        parse(trigger["metadata"], ["default"])


def test_the_folder_operator_does_not_hide_the_standard_librarys_module() -> None:
    code = "import operator; print(operator.itemgetter(1)('ab'), operator.__file__)"
    shown = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert shown.startswith("b ")
    assert str(ROOT / "operator") not in shown


def test_stored_formats_name_every_key_of_a_queue() -> None:
    from ark_taskqueue import QueueKeys

    queue = QueueKeys.for_agent("default", "writer")
    named = {name for name, member in vars(QueueKeys).items() if isinstance(member, property)}
    keys = {getattr(queue, name) for name in named - {"name", "streams"}} | {
        *queue.streams,
        queue.result("<id>"),
        queue.once("<key>"),
    }
    page = (ROOT / "docs" / "reference" / "stored-formats.md").read_text()
    for key in keys:
        assert f"`{key.replace(queue.base, '<base>')}`" in page, f"stored-formats.md does not explain {key}"
