"""The Grafana dashboard, from its panels: ``python -m hack.dashboard`` writes ``charts/ark/files/dashboard.json``."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILE = Path(__file__).resolve().parents[1] / "charts" / "ark" / "files" / "dashboard.json"
_COLUMNS, _HEIGHT = 24, 8
_QUEUES = 'queue=~"($namespace)/($agent)"'
_AGENTS = 'namespace=~"$namespace", agent=~"$agent"'
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture."""

    title: str
    says: str
    """What it shows and what to make of it, for the panel's description."""
    queries: dict[str, str]
    """Expression by legend."""
    unit: str = "short"
    width: int = 8


ROWS: dict[str, list[Panel]] = {
    "Queues": [
        Panel(
            "Tasks",
            "Waiting tasks and tasks in flight, also at zero replicas.",
            {"{{queue}} {{state}}": f"ark:queue_tasks:max{{{_QUEUES}}}"},
        ),
        Panel(
            "Oldest waiting task",
            "How long the oldest task has waited so far.",
            {"{{queue}}": f"ark:queue_oldest_waiting_seconds:max{{{_QUEUES}}}"},
            "s",
        ),
        Panel(
            "Dead letters",
            "Tasks that failed for good; they wait for a person.",
            {"{{queue}}": f"ark:queue_dead_letters:max{{{_QUEUES}}}"},
        ),
        Panel(
            "Wait, p95",
            "From submission to claim.",
            {"{{namespace}}/{{agent}}": f"ark:task_wait_seconds:p95_5m{{{_AGENTS}}}"},
            "s",
        ),
        Panel(
            "Run, p95",
            "Time of an attempt.",
            {"{{namespace}}/{{agent}}": f"ark:task_run_seconds:p95_5m{{{_AGENTS}}}"},
            "s",
        ),
        Panel(
            "Tasks by outcome",
            "completed, retried, dead, given_back, lost; a second.",
            {"{{agent}} {{outcome}}": f"ark:tasks:rate5m{{{_AGENTS}}}"},
            "ops",
        ),
    ],
    "Pools": [
        Panel(
            "Replicas by mode",
            "What each pool is to have, and who says so: Auto, Pinned, Static, Budget.",
            {"{{agent}} {{mode}}": f"max by (namespace, agent, mode) (ark_pool_replicas{{{_AGENTS}}})"},
        ),
        Panel(
            "Demand against capacity",
            "Tasks in the queue, and tasks that the ready replicas work on at a time.",
            {
                "{{agent}} demand": f"ark:pool_demand:max{{{_AGENTS}}}",
                "{{agent}} capacity": f"ark:pool_capacity_tasks:max{{{_AGENTS}}}",
            },
        ),
        Panel(
            "Ready replicas / maximum",
            "At 100 % the pool cannot grow any further: raise autoscaling.maxReplicas.",
            {
                "{{namespace}}/{{agent}}": f"max by (namespace, agent) (ark_pool_ready_replicas{{{_AGENTS}}}) / "
                f"max by (namespace, agent) (ark_pool_max_replicas{{{_AGENTS}}} > 0)"
            },
            "percentunit",
        ),
        Panel(
            "Agents by mode",
            "Pinned ones do not follow their queues.",
            {"{{mode}}": "max by (mode) (ark_operator_agents)"},
            width=12,
        ),
        Panel(
            "Bursts",
            "Pools that the operator raised ahead of the HPA; a second.",
            {"bursts": "sum(rate(ark_operator_bursts_total[$__rate_interval]))"},
            "ops",
            width=12,
        ),
    ],
    "Tokens": [
        Panel(
            "Used of the limit",
            "Of the last 24 hours. At 100 % the pool goes to zero.",
            {"{{namespace}}/{{agent}}": f"ark:budget_used:ratio{{{_AGENTS}}}"},
            "percentunit",
        ),
        Panel(
            "Tokens left",
            "What may still be spent now.",
            {"{{namespace}}/{{agent}}": f"ark:budget_left_tokens:max{{{_AGENTS}}}"},
        ),
        Panel(
            "Restored in",
            "Time until a full call fits again, of the agents whose tokens are used up.",
            {"{{namespace}}/{{agent}}": f"ark:budget_restored_in_seconds:max{{{_AGENTS}}}"},
            "s",
        ),
        Panel(
            "Tokens a second",
            "What LLM calls have cost.",
            {"{{agent}} {{kind}}": f"ark:tokens:rate5m{{{_AGENTS}}}"},
            width=12,
        ),
        Panel(
            "LLM calls by outcome",
            "answered, failed, unclear (counted in full), busy (tried again); a second.",
            {
                "{{agent}} {{outcome}}": "sum by (namespace, agent, outcome) "
                f"(rate(ark_agent_llm_calls_total{{{_AGENTS}}}[$__rate_interval]))"
            },
            "ops",
            width=12,
        ),
    ],
    "Scaler and operator": [
        Panel(
            "Calls of the scaler",
            "By KEDA and the HPA; a second. Codes other than OK hold the pools' sizes.",
            {"{{method}} {{code}}": "sum by (method, code) (rate(ark_scaler_requests_total[$__rate_interval]))"},
            "ops",
        ),
        Panel(
            "GetMetrics",
            "Time to answer.",
            {
                f"p{percent}": f"histogram_quantile(0.{percent}, sum by (le) "
                '(rate(ark_scaler_request_seconds_bucket{method="GetMetrics"}[$__rate_interval])))'
                for percent in (50, 99)
            },
            "s",
        ),
        Panel(
            "Redis",
            "Whether some scaler reaches it: 1 or 0, and answers that had to be held.",
            {
                "{{redis}} up": "max by (redis) (ark_scaler_redis_up)",
                "{{redis}} held/s": "sum by (redis) (rate(ark_scaler_held_values_total[$__rate_interval]))",
            },
        ),
        Panel(
            "Reconciles",
            "By result; a second.",
            {
                "{{result}}": "sum by (result) "
                '(rate(controller_runtime_reconcile_total{controller="arkagent"}[$__rate_interval]))'
            },
            "ops",
        ),
        Panel(
            "Agents that wait for the operator",
            "More than a few for longer: it is behind.",
            {"waiting": 'max(workqueue_depth{name="arkagent"})'},
        ),
        Panel(
            "Memory",
            "Of each process.",
            {
                "scaler {{instance}}": "process_resident_memory_bytes and on (instance, job) ark_scaler_open_streams",
                "operator {{instance}}": "process_resident_memory_bytes and on (instance, job) ark_operator_keda_up",
            },
            "bytes",
        ),
    ],
}


def dashboard() -> dict[str, Any]:
    """Return the dashboard as Grafana reads it (schema version 39, Grafana 10.4 and later)."""
    panels: list[dict[str, Any]] = []
    top = 0
    for title, row in ROWS.items():
        place = {"x": 0, "y": top, "w": _COLUMNS, "h": 1}
        panels.append({"id": len(panels) + 1, "type": "row", "title": title, "gridPos": place, "panels": []})
        top, left = top + 1, 0
        for panel in row:
            if left + panel.width > _COLUMNS:
                top, left = top + _HEIGHT, 0
            panels.append(_panel(panel, len(panels) + 1, left, top))
            left += panel.width
        top += _HEIGHT
    return {
        "uid": "ark-agents",
        "title": "Ark: agents, queues, tokens",
        "tags": ["ark", "keda"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": [_datasource(), _variable("namespace"), _variable("agent")]},
        "panels": panels,
    }


def _panel(panel: Panel, number: int, left: int, top: int) -> dict[str, Any]:
    return {
        "id": number,
        "type": "timeseries",
        "title": panel.title,
        "description": panel.says,
        "datasource": _SOURCE,
        "gridPos": {"x": left, "y": top, "w": panel.width, "h": _HEIGHT},
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
        "targets": [
            {"refId": chr(ord("A") + place), "datasource": _SOURCE, "expr": expression, "legendFormat": legend}
            for place, (legend, expression) in enumerate(panel.queries.items())
        ],
    }


def _datasource() -> dict[str, Any]:
    return {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus"}


def _variable(label: str) -> dict[str, Any]:
    of = '{namespace=~"$namespace"}' if label == "agent" else ""
    query = f"label_values(ark_pool_replicas{of}, {label})"
    return {
        "name": label,
        "type": "query",
        "datasource": _SOURCE,
        "query": {"query": query, "refId": label},
        "includeAll": True,
        "allValue": ".*",
        "multi": True,
        "current": {"text": "All", "value": "$__all"},
        "refresh": 2,
        "sort": 1,
    }


def text() -> str:
    """Return the file's content."""
    return json.dumps(dashboard(), indent=1) + "\n"


def main() -> int:
    """Write the file."""
    FILE.write_text(text())
    print(f"{FILE.name}: {sum(len(row) for row in ROWS.values())} panels")
    return 0


if __name__ == "__main__":
    sys.exit(main())
