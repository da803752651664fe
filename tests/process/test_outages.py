"""An outage is two lines in the log, however long it is."""

from __future__ import annotations

import structlog
from structlog.testing import capture_logs

from ark_process.outages import Outages


def outages() -> Outages:
    return Outages(
        structlog.get_logger(component="queues"), "redis", "queues cannot be read", "queues can be read again"
    )


def test_an_outage_is_said_when_it_begins_and_when_it_ends() -> None:
    with capture_logs() as said:
        seen = outages()
        seen.answers("default")
        seen.fails("default", "refused")
        seen.fails("default", "no answer within 5 s")
        seen.answers("default")
        seen.answers("default")
    assert said == [
        {
            "event": "queues cannot be read",
            "log_level": "warning",
            "component": "queues",
            "redis": "default",
            "error": "refused",
        },
        {"event": "queues can be read again", "log_level": "info", "component": "queues", "redis": "default"},
    ]


def test_each_one_has_outages_of_its_own() -> None:
    with capture_logs() as said:
        seen = outages()
        seen.fails("one", "refused")
        seen.fails("two", "refused")
        seen.answers("one")
        seen.fails("two", "refused")
    assert [(line["redis"], line["log_level"]) for line in said] == [
        ("one", "warning"),
        ("two", "warning"),
        ("one", "info"),
    ]


def test_what_is_gone_and_comes_back_broken_is_said_anew() -> None:
    with capture_logs() as said:
        seen = outages()
        seen.fails("one", "refused")
        seen.fails("two", "refused")
        seen.keep({"two", "three"})
        seen.fails("one", "refused")
        seen.fails("two", "refused")
    assert [line["redis"] for line in said] == ["one", "two", "one"]
