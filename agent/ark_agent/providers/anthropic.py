"""Anthropic's Messages API, and servers that speak it, through the official SDK."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import anthropic

from ark_agent.providers import ProviderOptions, Reply, Request, estimated_tokens, most_tokens
from ark_agent.providers.errors import BadProvider, CallRefused, CallUnclear, ProviderError, of_connection, of_status

_NAME = "anthropic"
_OWN_URL = "https://api.anthropic.com"
_SMALL = 1000
"""Input that is surely below this is not worth a question to the provider, tokens."""
_MARGIN = 50
"""The provider calls its count an estimate: this part of it is added."""
_UNKNOWN_ENDPOINT = frozenset({404, 405, 501})


def make(options: ProviderOptions) -> AnthropicProvider:
    """Make the provider.

    Raises:
        BadProvider: there is no key.
    """
    if not (os.environ.get("ANTHROPIC_API_KEY") or os.environ.get("ANTHROPIC_AUTH_TOKEN")):
        raise BadProvider("ANTHROPIC_API_KEY is not set: put it into the agents' Secret (see docs/worker.md)")
    return AnthropicProvider(options)


class AnthropicProvider:
    """Makes calls of the Messages API."""

    def __init__(self, options: ProviderOptions) -> None:
        """
        Args:
            options: model, base URL and timeout; the key is the environment's.
        """
        # The SDK's own retries would hide rate limits from whoever has to wait for them.
        self._client = anthropic.AsyncAnthropic(
            # An empty variable would be taken for an address.
            base_url=options.base_url or os.environ.get("ANTHROPIC_BASE_URL") or _OWN_URL,
            max_retries=0,
            timeout=options.timeout_seconds,
        )
        self._timeout = options.timeout_seconds
        self._bytes_per_token = options.bytes_per_token
        self._uncounted: set[str] = set()
        """Models that the server has no count for; one that only speaks the API may have none at all."""

    async def count(self, request: Request) -> int:
        """Answer the tokens of the input: by the provider's own count where it has one and it may matter.

        Raises:
            ProviderError: the count failed.
        """
        most = most_tokens(request)
        if most <= _SMALL:
            return most
        if request.model not in self._uncounted:
            try:
                counted = await self._counted(request)
            except _NoCount:
                self._uncounted.add(request.model)
            else:
                return min(most, counted + counted // _MARGIN)
        return estimated_tokens(request, self._bytes_per_token)

    async def call(self, request: Request, output_tokens: int) -> Reply:
        """Make the call.

        Raises:
            ProviderError: see `ark_agent.providers.Provider.call`.
        """
        with _translated():
            message = await self._client.messages.create(
                max_tokens=output_tokens, timeout=self._timeout, **_content(request)
            )
        return _reply(message)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def _counted(self, request: Request) -> int:
        try:
            with _translated():
                counted = await self._client.messages.count_tokens(timeout=self._timeout, **_content(request))
        except ProviderError as error:
            cause = error.__cause__
            if isinstance(cause, anthropic.APIStatusError) and cause.status_code in _UNKNOWN_ENDPOINT:
                raise _NoCount from error
            raise
        tokens: Any = getattr(counted, "input_tokens", None)
        if not isinstance(tokens, int):
            raise _NoCount
        return tokens


class _NoCount(Exception):
    """The server does not count."""


def _content(request: Request) -> dict[str, Any]:
    content: dict[str, Any] = {
        "model": request.model,
        "messages": [{"role": message.role, "content": message.content} for message in request.messages],
    }
    return {**content, "system": request.system} if request.system else content


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except anthropic.APIStatusError as error:
        raise of_status(_NAME, error.status_code, error.message, error.response.headers) from error
    except anthropic.APIConnectionError as error:
        raise of_connection(_NAME, error) from error
    except UnicodeEncodeError as error:
        raise CallRefused(f"the input is no text that {_NAME} could be sent: {error}") from error
    except (anthropic.AnthropicError, ValueError) as error:
        raise CallUnclear(f"{_NAME} answered what cannot be read: {error or type(error).__name__}") from error


def _reply(message: Any) -> Reply:
    """Read an answer; the SDK does not check what a server sends."""
    content, usage = getattr(message, "content", None), getattr(message, "usage", None)
    if not isinstance(content, list):
        raise CallUnclear(f"{_NAME} answered without content: {str(message)[:200]}")
    texts = [block.text for block in content if getattr(block, "type", "") == "text"]
    counts = [getattr(usage, name, None) for name in ("input_tokens", "output_tokens")]
    spent_in, spent_out = (number if isinstance(number, int) else None for number in counts)
    if spent_in is not None:
        for name in ("cache_creation_input_tokens", "cache_read_input_tokens"):
            spent_in += getattr(usage, name, None) or 0
    return Reply("".join(texts), spent_in, spent_out, str(getattr(message, "stop_reason", "")))
