"""The generated pages are as their sources are, and leave nothing out."""

from __future__ import annotations

import re

import pytest
import yaml

from ark_agent.metrics import AgentMetrics
from hack.reference import licences, values
from hack.reference.markdown import prose, table
from hack.reference.pages import ROOT, pages

PAGES = pages()


@pytest.mark.parametrize("name", PAGES)
def test_a_generated_page_is_up_to_date(name: str) -> None:
    assert (ROOT / name).read_text() == PAGES[name], f"{name} is stale: run make reference"


def test_the_chart_values_have_every_default_of_the_chart() -> None:
    def leaves(value: object, path: str = "") -> set[str]:
        if isinstance(value, dict) and value:
            inner = {key: leaves(below, f"{path}.{key}".lstrip(".")) for key, below in value.items()}
            return set().union(*inner.values())
        return {path}

    text = (ROOT / values.SOURCE).read_text()
    listed = {path for section in values.sections(text) for path, *_ in section.values}
    # A mapping that is written on one line is one value.
    missing = {path for path in leaves(yaml.safe_load(text)) if path not in listed}
    assert all(any(path.startswith(f"{known}.") for known in listed) for path in missing), missing


def test_a_line_of_the_values_that_nothing_is_known_of_is_an_error() -> None:
    with pytest.raises(values.UnknownLine, match=r"values\.yaml:2: - item"):
        values.sections("# -- Names ---\n- item\n")


def test_metrics_are_listed_with_their_labels_and_by_the_name_that_prometheus_has() -> None:
    page = PAGES["docs/reference/metrics.md"]
    assert re.search(r"^\| `ark_agent_tasks_total` \| counter \| `outcome` \|", page, re.MULTILINE)
    assert re.search(r"^\| `ark_pool_replicas` \| gauge \| `namespace`, `agent`, `mode` \|", page, re.MULTILINE)
    for family in AgentMetrics().registry.collect():
        assert family.name in page or family.name.startswith(("process_", "python_")), family.name


def test_every_alert_has_a_runbook() -> None:
    rules = yaml.safe_load((ROOT / "charts/ark/files/rules.yaml").read_text())
    alerts = {rule["alert"] for group in rules["groups"] for rule in group["rules"] if "alert" in rule}
    assert alerts == set(re.findall(r"^## (\w+)$", PAGES["docs/operations/runbooks.md"], re.MULTILINE))


def test_text_is_shown_as_it_is() -> None:
    assert prose("a `<b>` of <c>, [d] *e*") == r"a `<b>` of &lt;c&gt;, \[d\] \*e\*"
    assert table(("x", "y"), [("a|b", "c\nd")]) == "| x | y |\n| --- | --- |\n| a\\|b | c d |"


@pytest.mark.parametrize("said", ["nothing", "GPL-3.0-only", "MIT AND AGPL-3.0-only", "Proprietary"])
def test_a_licence_that_nobody_has_looked_at_is_named(said: str) -> None:
    with pytest.raises(licences.NotPermitted, match=f"package x says '{said}'"):
        licences.checked("x", said)


def test_packages_for_other_systems_are_not_listed() -> None:
    page = licences.licences_page("redis==8.1.0 \\\n    --hash=sha256:0\ncolorama==1.0 ; sys_platform == 'win32' \\\n")
    assert "| redis | 8.1.0 | MIT |" in page
    assert "colorama" not in page
