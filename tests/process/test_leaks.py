"""Tracebacks of a program show no variables, in neither style: frames hold prompts, keys and passwords."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

_PLANT = """
import asyncio, importlib, logging, sys
import structlog

module = importlib.import_module(sys.argv.pop(1))

def fails():
    prompt = "PLANTED-" + "prompt"
    raise ValueError("odd")

async def planted(config, *_, **__):
    key = "PLANTED-" + "key"
    try:
        fails()
    except ValueError:
        logging.exception("by a library")
        structlog.get_logger(component="x").exception("by us")

    async def forgotten():
        inner = "PLANTED-" + "task"
        fails()

    task = asyncio.create_task(forgotten())
    await asyncio.wait([task])
    del task  # "exception was never retrieved"
    import gc; gc.collect()
    # What a library repeats of what it was given.
    logging.error("cannot log in with %s", "PLANTED-password")
    logging.getLogger("openai").debug("Request options: %s", {"prompt": "PLANTED-debug"})
    logging.getLogger("httpx").info("POST %s", "https://h/?key=PLANTED-info")
    import redis
    logging.getLogger("redis.anything").debug("AUTH %s", "PLANTED-debug-of-any-library")
    print(repr(config), file=sys.stderr)
    return 0

setattr(module, sys.argv.pop(1), planted)
module.main()
"""

_PROGRAMS = {
    "agent": ("ark_agent.main", "work", "--queue=default/writer", "--redis=redis://:PLANTED-password@h"),
    "scaler": ("ark_scaler.server", "_run", "--redis=redis://:PLANTED-password@h big=redis://u:PLANTED-password@h"),
    "operator": ("ark_operator.main", "_run", "--image=x", "--redis=redis://:PLANTED-password@h"),
}


@pytest.mark.parametrize("style", ["json", "text"])
@pytest.mark.parametrize("program", list(_PROGRAMS))
def test_nothing_that_a_frame_holds_is_logged(program: str, style: str) -> None:
    module, function, *flags = _PROGRAMS[program]
    ended = subprocess.run(
        [sys.executable, "-c", _PLANT, module, function, *flags, f"--log-format={style}", "--log-level=debug"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "SOME_API_KEY": "PLANTED-url"},
    )
    said = ended.stdout + ended.stderr
    assert ended.returncode == 0, said
    for event in ("by a library", "by us", "never retrieved", "cannot log in with"):
        assert event in said, f"{event!r} was not logged: {said}"
    assert "in fails" in said or '"fails"' in said, "the traceback itself is gone"
    assert "PLANTED" not in said
