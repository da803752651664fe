"""OpenAI's chat completions, and the many servers that speak them, through the official SDK."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import openai

from ark_agent.providers import ProviderOptions, Reply, Request, estimated_tokens
from ark_agent.providers.errors import BadProvider, CallRefused, CallUnclear, of_connection, of_status

_NAME = "openai"
_OWN_HOST = "api.openai.com"
_OWN_URL = f"https://{_OWN_HOST}/v1"
_NO_KEY = "none"
"""Servers in one's own cluster often want no key, but the SDK does."""


def make(options: ProviderOptions) -> OpenAIProvider:
    """Make the provider.

    Raises:
        BadProvider: there is no key, and it is OpenAI's own server.
    """
    own = options.base_url is None and not os.environ.get("OPENAI_BASE_URL")
    if own and not os.environ.get("OPENAI_API_KEY"):
        raise BadProvider("OPENAI_API_KEY is not set: put it into the agents' Secret (see docs/worker.md)")
    return OpenAIProvider(options)


class OpenAIProvider:
    """Makes calls of the chat completions API."""

    def __init__(self, options: ProviderOptions) -> None:
        """
        Args:
            options: model, base URL and so on; the key is the environment's.
        """
        # The SDK's own retries would hide rate limits from whoever has to wait for them.
        self._client = openai.AsyncOpenAI(
            api_key=os.environ.get("OPENAI_API_KEY") or _NO_KEY,
            # An empty variable would be taken for an address.
            base_url=options.base_url or os.environ.get("OPENAI_BASE_URL") or _OWN_URL,
            max_retries=0,
            timeout=options.timeout_seconds,
        )
        self._bytes_per_token = options.bytes_per_token
        field = options.output_limit_field
        if field == "auto":
            # OpenAI's newer models refuse the old name, and other servers may pass over the new one.
            own = urlsplit(str(self._client.base_url)).hostname == _OWN_HOST
            field = "max_completion_tokens" if own else "max_tokens"
        self._limit_field = field

    async def count(self, request: Request) -> int:
        """Estimate the tokens of the input: the API has no way to count them."""
        return estimated_tokens(request, self._bytes_per_token)

    async def call(self, request: Request, output_tokens: int) -> Reply:
        """Make the call.

        Raises:
            ProviderError: see `ark_agent.providers.Provider.call`.
        """
        system = [{"role": "system", "content": request.system}] if request.system else []
        turns = [{"role": message.role, "content": message.content} for message in request.messages]
        given: dict[str, Any] = {"messages": [*system, *turns], self._limit_field: output_tokens}
        with _translated():
            completion = await self._client.chat.completions.create(model=request.model, **given)
        return _reply(completion)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.close()


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except openai.APIStatusError as error:
        raise of_status(_NAME, error.status_code, error.message, error.response.headers) from error
    except openai.APIConnectionError as error:
        raise of_connection(_NAME, error) from error
    except UnicodeEncodeError as error:
        raise CallRefused(f"the input is no text that {_NAME} could be sent: {error}") from error
    except (openai.OpenAIError, ValueError) as error:
        raise CallUnclear(f"{_NAME} answered what cannot be read: {error or type(error).__name__}") from error


def _reply(completion: Any) -> Reply:
    """Read an answer; the SDK does not check what a server sends."""
    choices = getattr(completion, "choices", None)
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = getattr(choice, "message", None)
    if message is None:
        raise CallUnclear(f"{_NAME} answered without choices: {str(completion)[:200]}")
    usage = getattr(completion, "usage", None)
    counts = [getattr(usage, name, None) for name in ("prompt_tokens", "completion_tokens")]
    spent_in, spent_out = (number if isinstance(number, int) else None for number in counts)
    text = message.content if isinstance(getattr(message, "content", None), str) else ""
    return Reply(text, spent_in, spent_out, str(getattr(choice, "finish_reason", "")))
