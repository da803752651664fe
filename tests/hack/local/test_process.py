"""Programs of this repository that start others end in order, and take those with them."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import psutil
import pytest

_PROGRAM = textwrap.dedent("""
    import asyncio, sys
    from pathlib import Path
    from hack.local.process import ChildProcess, end_by_interrupt

    end_by_interrupt()

    async def main():
        command = [sys.executable, "-c", "import time; time.sleep(600)"]
        with ChildProcess(command, Path(sys.argv[1]), dies_with_parent=True) as child:
            print(child.pid, flush=True)
            await asyncio.sleep(600)

    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        sys.exit(130)
""")


def ignore_interrupts() -> None:
    """Be what a shell makes of a background job."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_background_job_ends_with_all_it_has_started(tmp_path: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-c", _PROGRAM, str(tmp_path / "child.log")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=ignore_interrupts) as process:  # noqa: PLW1509
        try:
            assert process.stdout is not None
            child = psutil.Process(int(process.stdout.readline()))
            process.send_signal(number)
            assert process.wait(30) == (-signal.SIGKILL if number is signal.SIGKILL else 130)
        finally:
            process.kill()
    _, alive = psutil.wait_procs([child], timeout=30)
    assert not alive
