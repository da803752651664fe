"""``kubectl ark doctor``: what is wrong with an installation, and what to do about it.

Each check is a coroutine that gives findings. What a person may not look at is unknown and no fault: a tenant without
rights in Ark's namespace still learns what can be learnt.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime

import click
from rich.text import Text

from ark_cli import output
from ark_cli.checks import agents, certificates, components, keda, redis, rights
from ark_cli.checks.finding import Finding, Verdict
from ark_cli.checks.installation import Installation, read_installation
from ark_cli.errors import CliError, Exit
from ark_cli.kubectl import Kubectl
from ark_cli.options import connected, output_option, redis_option, where_options
from ark_cli.redis_access import RedisAccess

_Check = Callable[[Kubectl, RedisAccess, Installation], AsyncIterator[Finding]]
_CHECKS: dict[str, _Check] = {
    "API server": components.api_server,
    "Definition": components.definition,
    "KEDA": keda.keda,
    "Operator": components.operator,
    "Scaler": components.scaler,
    "Certificates": certificates.certificates,
    "Operator's rights": rights.operators,
    "Your rights": rights.yours,
    "Redis": redis.redis,
    "Agents": agents.agents,
}
_STYLES = {Verdict.OK: "green", Verdict.WARNING: "yellow", Verdict.FAULT: "bold red", Verdict.UNKNOWN: "dim"}


@click.command()
@where_options
@redis_option
@output_option
@click.pass_context
def doctor(context: click.Context, redis_url: str | None, kind: str) -> None:
    """Check the installation: the definition, KEDA, operator, scaler, certificates, rights, Redis, and all agents.

    Says what to do about each fault, and exits with 1 if there is one. What you may not read is reported as unknown.
    """

    async def work(kubectl: Kubectl, access: RedisAccess) -> int:
        found: list[tuple[str, Finding]] = []
        installation = await read_installation(kubectl, datetime.now(UTC))
        for name, check in _CHECKS.items():
            try:
                found += [(name, finding) async for finding in check(kubectl, access, installation)]
            except CliError as error:
                found.append((name, Finding(Verdict.UNKNOWN, str(error))))
        if kind == "table":
            _show(found)
        else:
            listed = [
                {"check": name, "verdict": str(one.verdict), "message": one.message, "do": one.do}
                for name, one in found
            ]
            output.emit({"findings": listed}, kind)
        return Exit.BAD if any(one.verdict is Verdict.FAULT for _, one in found) else 0

    connected(context, redis_url, work)


def _show(found: list[tuple[str, Finding]]) -> None:
    console = output.console()
    width = max(len(name) for name, _ in found)
    for name, one in found:
        console.print(Text.assemble((f"{one.verdict:<7}", _STYLES[one.verdict]), f"  {name:<{width}}  {one.message}"))
        if one.do:
            console.print(Text.assemble(" " * (width + 11), ("do: ", "bold"), one.do))
    faults = sum(one.verdict is Verdict.FAULT for _, one in found)
    console.print()
    console.print("No fault found." if not faults else f"{faults} fault{'s' if faults > 1 else ''} found.")
