"""The operator as a process: runs a replica until a signal."""

from __future__ import annotations

import asyncio
import signal
import sys

import structlog

from ark_kube.election import LostLease
from ark_kube.errors import NoApiServer
from ark_kube.reflector import NotAllowed
from ark_operator.assembly import running
from ark_operator.settings import OperatorSettings
from ark_process import http, program, settings
from ark_process.certificate import BadCertificate
from ark_process.exceptions import leaves


async def _run(config: OperatorSettings) -> int:
    """Run until a signal; return the exit code, 1 where the operator cannot go on."""
    log = structlog.get_logger(component="operator")
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with running(config) as (replica, port):
        log.info("operator is listening", http_port=port, tls=config.tls_cert is not None)
        work = asyncio.create_task(replica.run())
        stopping = asyncio.create_task(stop.wait())
        code = 0
        try:
            await asyncio.wait([work, stopping], return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            if stop.is_set():
                work.cancel()
                await asyncio.wait([work])
            if not work.cancelled():
                await work
            log.info("operator has stopped")
        except* (LostLease, NotAllowed) as errors:
            code = 1
            log.error("operator ends", errors=[str(error) for error in leaves(errors)])
    return code


def main() -> None:
    """Run the operator until SIGTERM or Ctrl-C."""
    config = program.begin(OperatorSettings)
    try:
        sys.exit(asyncio.run(_run(config)))
    except (NoApiServer, http.PortInUse, BadCertificate) as error:
        settings.exit_with_usage_error(OperatorSettings, [str(error)])
