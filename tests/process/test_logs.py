"""Logs: one JSON object a line, the libraries' too."""

from __future__ import annotations

import json
import subprocess
import sys

_PROGRAM = """
import logging
from ark_process import logs
logs.configure("info", "json")
logs.get("watch").warning("redis is not reachable", redis="default")
logs.get("watch").debug("not shown")
logging.getLogger("library").error("from a %s", "library")
"""


def test_each_line_is_an_object_with_time_level_and_event() -> None:
    ended = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, timeout=60, check=True)
    assert ended.stdout == ""
    own, library = (json.loads(line) for line in ended.stderr.splitlines())
    assert (own["event"], own["level"], own["component"], own["redis"]) == (
        "redis is not reachable",
        "warning",
        "watch",
        "default",
    )
    assert (library["event"], library["level"]) == ("from a library", "error")
    assert own["time"].endswith("Z")
