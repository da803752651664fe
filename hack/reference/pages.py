"""Which pages are generated, and from what."""

from __future__ import annotations

from pathlib import Path

import yaml

from ark_agent.settings import AgentSettings
from ark_operator.settings import OperatorSettings
from ark_scaler.settings import ScalerSettings
from hack.reference import agent, licences, metrics, values
from hack.reference.agent import agent_page
from hack.reference.commands import commands_page
from hack.reference.licences import licences_page
from hack.reference.metrics import metrics_page, runbooks_page
from hack.reference.settings import settings_page
from hack.reference.trigger import trigger_page
from hack.reference.values import chart_readme, values_page

ROOT = Path(__file__).resolve().parents[2]


def pages() -> dict[str, str]:
    """Return the text of every generated page, by its path in the repository."""
    definition, rules, chart_values = (
        (ROOT / source).read_text() for source in (agent.SOURCE, metrics.RULES, values.SOURCE)
    )
    chart = yaml.safe_load((ROOT / "charts/ark/Chart.yaml").read_text())
    return {
        "docs/reference/agent.md": agent_page(definition),
        "docs/reference/trigger.md": trigger_page(),
        "docs/reference/scaler-settings.md": settings_page(ScalerSettings, "scaler/ark_scaler/settings.py"),
        "docs/reference/operator-settings.md": settings_page(OperatorSettings, "operator/ark_operator/settings.py"),
        "docs/reference/agent-settings.md": settings_page(AgentSettings, "agent/ark_agent/settings.py"),
        "docs/reference/commands.md": commands_page(),
        "docs/reference/values.md": values_page(chart_values),
        "docs/reference/metrics.md": metrics_page(rules),
        "docs/operations/runbooks.md": runbooks_page(rules),
        "docs/reference/licences.md": licences_page((ROOT / licences.SOURCE).read_text()),
        "charts/ark/README.md": chart_readme(chart_values, chart["description"]),
    }
