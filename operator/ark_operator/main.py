"""The operator as a process: runs a replica until a signal."""

from __future__ import annotations

import asyncio
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
from ark_process.leaving import Departure


async def _run(config: OperatorSettings) -> int:
    """Run until a signal; return the exit code, 1 where the operator cannot go on."""
    log = structlog.get_logger(component="operator")
    departure = Departure()
    async with running(config) as (replica, port):
        log.info("operator is listening", http_port=port, tls=config.tls_cert is not None)
        work = asyncio.create_task(replica.run())
        stopping = asyncio.create_task(departure.asked.wait())
        code = 0
        try:
            await asyncio.wait([work, stopping], return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            if departure.asked.is_set():
                # Another replica takes over at once; what is served here may still be asked for.
                drains = replica.readiness.leave()
                work.cancel()
                await asyncio.wait([work])
                if drains:
                    await departure.drain(config.drain_seconds)
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
