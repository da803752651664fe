"""Metrics, recording rules and alerts, from the registries of the programs and the chart's rules."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml
from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase

from ark_agent.metrics import AgentMetrics
from ark_operator.metrics import OperatorMetrics
from ark_scaler.metrics import ScalerMetrics
from hack.reference.markdown import code, page, prose, table

SOURCE = "the metrics.py of each program, or charts/ark/files/rules.yaml"
RULES = "charts/ark/files/rules.yaml"

_INTRODUCTION = """\
Each program shows these at `/metrics`, besides `process_*` and `python_*`. [Monitoring](../guides/monitoring.md) has
the queries that answer everyday questions. Agents' metrics get the labels `namespace` and `agent` from the chart's
PodMonitor."""
_RULES = """\
The chart's PrometheusRule (`metrics.rules.enabled`) and `charts/ark/files/rules.yaml` have them. Every replica of the
scaler reports every queue, so the rules take the maximum."""
_RUNBOOKS = """\
What to do when an alert fires. `kubectl ark doctor` checks most of it at once."""


def metrics_page(rules: str) -> str:
    """Return the page of metrics, rules and alerts.

    Args:
        rules: the Prometheus rules, YAML.
    """
    parts = [_INTRODUCTION]
    for program, registry in _registries():
        rows = sorted(_metrics(registry))
        parts += [f"## {program}", table(("metric", "type", "labels", "meaning"), rows)]
    recorded = [(code(rule["record"]), code(rule["expr"].strip())) for rule in _rules(rules) if "record" in rule]
    parts += ["## Recording rules", _RULES, table(("rule", "expression"), recorded)]
    alerts = [
        (f"[{rule['alert']}](../operations/runbooks.md#{rule['alert'].lower()})", rule["labels"]["severity"])
        for rule in _rules(rules)
        if "alert" in rule
    ]
    parts += ["## Alerts", "Each has a [runbook](../operations/runbooks.md).", table(("alert", "severity"), alerts)]
    return page("Metrics and alerts", SOURCE, *parts)


def runbooks_page(rules: str) -> str:
    """Return the page with what to do about each alert.

    Args:
        rules: the Prometheus rules, YAML.
    """
    parts = [_RUNBOOKS]
    for rule in _rules(rules):
        if "alert" in rule:
            after = f", for {rule['for']}" if "for" in rule else ""
            fires = f"Fires when `{' '.join(rule['expr'].split())}`{after} (severity {rule['labels']['severity']})."
            parts += [f"## {rule['alert']}", prose(" ".join(rule["annotations"]["runbook"].split())), fires]
    return page("Runbooks", RULES, *parts)


def _rules(text: str) -> Iterator[dict[str, Any]]:
    for group in yaml.safe_load(text)["groups"]:
        yield from group["rules"]


def _registries() -> Iterator[tuple[str, CollectorRegistry]]:
    scaler = ScalerMetrics()
    scaler.show_depths(list)
    scaler.show_budgets(list)
    yield "Scaler", scaler.registry
    operator = OperatorMetrics(1)
    operator.show_budgets(list)
    operator.show_pools(lambda _: [])
    operator.show_silence(dict)
    yield "Operator", operator.registry
    yield "Agents", AgentMetrics().registry


def _metrics(registry: CollectorRegistry) -> Iterator[tuple[str, str, str, str]]:
    declared = {
        metric._name: metric._labelnames  # there is no public way to a metric's labels
        for metric in registry._collector_to_names
        if isinstance(metric, MetricWrapperBase)
    }
    for family in registry.collect():
        if family.name.startswith(("process_", "python_")):
            continue
        labels = declared.get(family.name, getattr(family, "_labelnames", ()))
        name = f"{family.name}_total" if family.type == "counter" else family.name
        yield code(name), family.type, ", ".join(map(code, labels)), prose(family.documentation)
