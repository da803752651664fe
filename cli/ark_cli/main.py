"""The command ``kubectl ark``."""

from __future__ import annotations

import asyncio
import os
import sys

import click

from ark_cli import advise, budget, dead, doctor, output, pinning, status, tasks, top
from ark_cli.errors import CliError, Exit, shown
from ark_cli.options import where_options
from ark_taskqueue import InvalidTaskId, TaskQueueError

NAME = "kubectl ark"


@click.group(
    name=NAME,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 success; 1 a task failed, or doctor found a fault; 2 usage error; 3 not done: not found, "
    "not allowed, refused or unreachable; 4 not yet: no result so far, or too short a record.",
)
@click.version_option(package_name="ark", prog_name=NAME)
@where_options
def cli() -> None:
    """See what agents are doing and why, and override it.

    Kubernetes is reached as kubectl reaches it. Redis is reached as the agents reach it, by a port-forward where it is
    a Service; --redis-url or ARK_REDIS_URL names another way.
    """


for command in (
    status.status,
    top.top,
    tasks.submit,
    tasks.task,
    tasks.result,
    tasks.cancel,
    pinning.pin,
    pinning.auto,
    budget.budget,
    advise.command,
    dead.dead,
    doctor.doctor,
):
    cli.add_command(command)


def main() -> None:
    """Run the command and end the process."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run the command and return its exit code."""
    try:
        code = cli.main(arguments, prog_name=NAME, standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        return Exit.USAGE
    except CliError as error:
        return _failed(str(error), error.code)
    except TaskQueueError as error:
        return _failed(shown(error), Exit.USAGE if isinstance(error, InvalidTaskId) else Exit.NOT_DONE)
    except (click.exceptions.Abort, KeyboardInterrupt, asyncio.CancelledError):
        return Exit.INTERRUPTED
    except BrokenPipeError:
        # Whoever reads has had enough, as `head` has; Python's own flush at the end must not complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code if isinstance(code, int) else 0


def _failed(message: str, code: Exit) -> int:
    output.say(f"{NAME}: {message}")
    return code
