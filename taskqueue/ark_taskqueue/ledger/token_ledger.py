"""The token ledger: what an agent's LLM calls have cost in the last 24 hours, and what its calls under way may cost.

Every call goes ``reserve -> call -> settle``. A reservation is refused where used + reserved + wanted would be above
the budget, so the budget holds with any number of workers; the only way past it is a provider that bills more than the
call was allowed, and that is written down as it was. A worker that dies leaves its reservation behind, which ends by
itself.

Time is the server's. The window is exact to the second, and rounded so that usage is never counted too low
(contract C3; see ``token_window.lua``).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from ark_taskqueue.errors import BudgetExceeded, TaskQueueError
from ark_taskqueue.keys import QueueKeys
from ark_taskqueue.ledger.budget import Budget, Reservation, Settlement, TokenUsage
from ark_taskqueue.redis.client import Client
from ark_taskqueue.redis.script import READS_AND_CLEARS_AWAY, Script
from ark_taskqueue.redis.translation import error_of, translated

_RESERVE = Script("ledger/reserve_tokens")
_SETTLE = Script("ledger/settle_tokens")
_USAGE = Script("ledger/token_usage", READS_AND_CLEARS_AWAY)
_NO_LIMIT = -1
_NEVER = -1


class TokenLedger:
    """The ledger of one agent.

    Args:
        client: see `ark_taskqueue.redis.client.connect`.
        queue: the agent's queue; the ledger's keys are named like it.
    """

    def __init__(self, client: Client, queue: QueueKeys) -> None:
        self._client = client
        self._keys = ledger_keys(queue)
        self._stats = queue.stats
        self._name = queue.name

    async def reserve(self, budget: Budget, seconds: float, tokens: int | None = None) -> Reservation:
        """Reserve the tokens of one call.

        Args:
            budget: of the agent.
            seconds: after which the reservation ends by itself; more than the call may take.
            tokens: that the call may cost; ``budget.per_call`` where None.

        Raises:
            BudgetExceeded: they do not fit; it says when they will.
            RedisUnavailable: it is not known; make no call.
        """
        wanted = budget.per_call if tokens is None else tokens
        if wanted < 0:
            raise ValueError(f"{wanted} tokens cannot be reserved")
        limit = _limit(budget)
        reply = await _RESERVE.run(self._client, self._keys, wanted, limit, int(seconds * 1000))
        if reply[0] == 1:
            return Reservation(number=reply[1], tokens=wanted, ends_ms=reply[2])
        _, moment, spent_in, spent_out, reserved, now = reply
        used, restored_at = spent_in + spent_out, _moment(moment)
        raise BudgetExceeded(self._name, wanted, limit, used, reserved, restored_at, _seconds(moment, now))

    async def settle(
        self, reservation: Reservation, input_tokens: int, output_tokens: int, *, again: bool = False
    ) -> bool:
        """Write down what a call has cost, in the place of its reservation.

        Args:
            reservation: of the call.
            input_tokens: that the LLM read.
            output_tokens: that it wrote.
            again: whether this may have been asked before.

        Returns:
            False where it had been written down already.

        Raises:
            RedisUnavailable: it is not known whether it was; ask again, and say so.
        """
        call = Settlement(reservation, input_tokens, output_tokens, again)
        return bool(await _SETTLE.run(self._client, self._keys, *call.arguments))

    async def release(self, reservation: Reservation, *, again: bool = False) -> bool:
        """Release the tokens of a call that was not made; return False where that had been done already."""
        return await self.settle(reservation, 0, 0, again=again)

    async def usage(self, budget: Budget) -> TokenUsage:
        """Read the tokens of the last 24 hours.

        Raises:
            RedisUnavailable: they are not known.
        """
        return _usage(await _USAGE.run(self._client, (*self._keys, self._stats), budget.per_call, _limit(budget)))


async def read_usages(client: Client, agents: Sequence[tuple[QueueKeys, Budget]]) -> list[TokenUsage | TaskQueueError]:
    """Read the usage of many agents in one pipeline; an error takes the place of the usage of the agent that has it.

    Args:
        client: see `ark_taskqueue.redis.client.connect`.
        agents: their queues, and their budgets.

    Raises:
        RedisUnavailable: no usage could be read.
    """
    calls = [((*ledger_keys(queue), queue.stats), (budget.per_call, _limit(budget))) for queue, budget in agents]
    with translated("read token usage"):
        replies = await _USAGE.run_each(client, calls)
    return [_decoded(queue, reply) for (queue, _), reply in zip(agents, replies, strict=True)]


def _limit(budget: Budget) -> int:
    return _NO_LIMIT if budget.daily is None else budget.daily


def _decoded(queue: QueueKeys, reply: Any) -> TokenUsage | TaskQueueError:
    return error_of(reply, f"read the token usage of {queue.name}") or _usage(reply)


def _usage(reply: Sequence[int]) -> TokenUsage:
    spent_in, spent_out, reserved, moment, now = reply
    return TokenUsage(spent_in, spent_out, reserved, moment != 0, _moment(moment), _seconds(moment, now))


def _moment(milliseconds: int) -> datetime | None:
    return None if milliseconds in (0, _NEVER) else datetime.fromtimestamp(milliseconds / 1000, UTC)


def _seconds(milliseconds: int, now: int) -> float | None:
    return None if milliseconds in (0, _NEVER) else max(0, milliseconds - now) / 1000


def ledger_keys(queue: QueueKeys) -> tuple[str, str, str]:
    """Return the keys of an agent's ledger: sums, seconds, reservations."""
    return queue.tokens, f"{queue.tokens}:log", f"{queue.tokens}:reserved"
