"""Anthropic's Messages API, and servers that speak it, through the official SDK."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import anthropic

from ark_agent.providers import (
    Estimate,
    ProviderOptions,
    Reply,
    Request,
    endpoint_of,
    estimated_tokens,
    key_of,
    most_tokens,
    text_tokens,
)
from ark_agent.providers.answers import joined, object_in, of_connection, unreadable
from ark_agent.providers.errors import BadProvider, CallUnclear, InputRefused, ProviderError
from ark_agent.providers.faults import error_in_success, error_of, fault_of
from ark_agent.providers.usage import Reported, tokens

_NAME = "anthropic"
_OWN_URL = "https://api.anthropic.com"
_SMALL = 1000
"""Input that is surely below this is not worth a question to the provider, tokens."""
_MARGIN = 50
"""The provider calls its count an estimate: this part of it is added."""
_UNKNOWN_ENDPOINT = frozenset({404, 405, 501})
_COUNT_SECONDS = 10.0
"""The most that a count may take: the estimate is as good, and costs no time."""


def make(options: ProviderOptions) -> AnthropicProvider:
    """Make the provider.

    Raises:
        BadProvider: there is no key.
    """
    if all(key_of(variable) is None for variable in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN")):
        raise BadProvider("ANTHROPIC_API_KEY is not set: put it into the agents' Secret (see docs/guides/worker.md)")
    return AnthropicProvider(options)


class AnthropicProvider:
    """Makes calls of the Messages API.

    Args:
        options: model, base URL and timeout; the key is the environment's.
    """

    def __init__(self, options: ProviderOptions) -> None:
        # An empty variable would be taken for an address.
        endpoint = endpoint_of(options.base_url or os.environ.get("ANTHROPIC_BASE_URL") or _OWN_URL)
        # The SDK's own retries would hide rate limits from whoever has to wait for them.
        self._client = anthropic.AsyncAnthropic(
            base_url=endpoint.base_url,
            default_query=endpoint.query,
            max_retries=0,
            timeout=options.timeout_seconds,
        )
        self._timeout = options.timeout_seconds
        self._bytes_per_token = options.bytes_per_token
        self._uncounted: set[str] = set()
        """Models that the server has no count for; one that only speaks the API may have none at all."""

    async def count(self, request: Request) -> int:
        """Return the tokens of the input: by the provider's own count where it has one and it may matter.

        A count that fails says nothing of the call, which has limits and rights of its own: then it is estimated.
        """
        most = most_tokens(request)
        if most <= _SMALL:
            return most
        counted = None if request.model in self._uncounted else await self._counted(request)
        if counted is None:
            estimate = estimated_tokens(request, self._bytes_per_token)
            return estimate if request.model in self._uncounted else Estimate(estimate)
        return min(most, counted + counted // _MARGIN)

    async def call(self, request: Request, output_tokens: int) -> Reply:
        """Make the call.

        Raises:
            ProviderError: see `ark_agent.providers.Provider.call`.
        """
        with _translated():
            answer = await self._client.messages.with_raw_response.create(
                max_tokens=output_tokens, timeout=self._timeout, **_content(request)
            )
        # Read here and not by the SDK, which takes whatever a server sends for a message.
        return self._reply(request, object_in(_NAME, answer.http_response.content, answer.headers), answer.headers)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def _counted(self, request: Request) -> int | None:
        try:
            with _translated():
                # The SDK's own timeout is for each piece of an answer.
                async with asyncio.timeout(_COUNT_SECONDS):
                    answer = await self._client.messages.with_raw_response.count_tokens(
                        timeout=min(self._timeout, _COUNT_SECONDS), **_content(request)
                    )
            counted = tokens(object_in(_NAME, answer.http_response.content, answer.headers).get("input_tokens"))
        except TimeoutError:
            return None
        except ProviderError as error:
            if error.status in _UNKNOWN_ENDPOINT:
                self._uncounted.add(request.model)
            return None
        if not counted:
            self._uncounted.add(request.model)
        return counted or None

    def _reply(self, request: Request, message: Mapping[str, Any], headers: Mapping[str, str]) -> Reply:
        content, stop = message.get("content"), message.get("stop_reason")
        if not isinstance(content, (list, str)) and not (content is None and isinstance(stop, str)):
            raise unreadable(_NAME, "content", message)
        failed = [part for part in content or [] if isinstance(part, dict) and part.get("type") == "error"]
        if failed or str(stop).lower() == "error":
            raise error_in_success(_NAME, (failed[0].get("error") or failed[0]) if failed else {}, headers)
        text = joined(content)
        reported = _reported(message.get("usage"))
        read, written = reported.spent(
            estimated_tokens(request, self._bytes_per_token), text_tokens(text, self._bytes_per_token)
        )
        return Reply(text, read, written, stop if isinstance(stop, str) else "", reported.least)


def _content(request: Request) -> dict[str, Any]:
    content: dict[str, Any] = {
        "model": request.model,
        "messages": [{"role": message.role, "content": message.content} for message in request.messages],
    }
    return {**content, "system": request.system} if request.system else content


@contextmanager
def _translated() -> Iterator[None]:
    """Translate the SDK's errors. None of them stays in the chain: a traceback of a user's would show its text."""
    try:
        yield
    except anthropic.APIStatusError as error:
        raise error_of(fault_of(_NAME, error.status_code, error.body, error.message), error.response.headers) from None
    except anthropic.APIConnectionError as error:
        raise of_connection(_NAME, error) from None
    except UnicodeEncodeError as error:
        raise InputRefused(f"the input is not text that can be sent to {_NAME}", str(error)) from None
    except (anthropic.AnthropicError, ValueError) as error:
        raise CallUnclear(f"{_NAME} sent an unreadable answer ({type(error).__name__})", str(error)) from None


def _reported(usage: object) -> Reported:
    if not isinstance(usage, dict):
        return Reported()
    read = tokens(usage.get("input_tokens"))
    # Tokens from a cache, or into one, are counted beside the others (the API's documentation, "Prompt caching").
    cached = sum(tokens(usage.get(f"cache_{way}_input_tokens")) or 0 for way in ("creation", "read"))
    written, total = tokens(usage.get("output_tokens")), tokens(usage.get("total_tokens"))
    return Reported(None if read is None else read + cached, written, total, cached=cached)
