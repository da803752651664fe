"""OpenAI's chat completions, and the many servers that speak them, through the official SDK."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import openai

from ark_agent.providers import ProviderOptions, Reply, Request, endpoint_of, estimated_tokens, key_of, text_tokens
from ark_agent.providers.answers import has_part, joined, object_in, of_connection, unreadable
from ark_agent.providers.errors import BadProvider, CallUnclear, InputRefused
from ark_agent.providers.faults import error_in_success, error_of, fault_of
from ark_agent.providers.usage import Reported, tokens

_NAME = "openai"
_OWN_HOST = "api.openai.com"
_OWN_URL = f"https://{_OWN_HOST}/v1"
_NO_KEY = "none"
"""Servers in one's own cluster often want no key, but the SDK does."""
_REFUSED = "refusal"
"""The stop of an answer in which the LLM declines, as Anthropic names it; OpenAI has a field for it."""


def make(options: ProviderOptions) -> OpenAIProvider:
    """Make the provider.

    Raises:
        BadProvider: there is no key, and it is OpenAI's own server.
    """
    own = options.base_url is None and not os.environ.get("OPENAI_BASE_URL")
    if key_of("OPENAI_API_KEY") is None and own:
        raise BadProvider("OPENAI_API_KEY is not set: put it into the agents' Secret (see docs/guides/worker.md)")
    return OpenAIProvider(options)


class OpenAIProvider:
    """Makes calls of the chat completions API.

    Args:
        options: model, base URL and so on; the key is the environment's.
    """

    def __init__(self, options: ProviderOptions) -> None:
        # An empty variable would be taken for an address.
        endpoint = endpoint_of(options.base_url or os.environ.get("OPENAI_BASE_URL") or _OWN_URL)
        # The SDK's own retries would hide rate limits from whoever has to wait for them.
        self._client = openai.AsyncOpenAI(
            api_key=key_of("OPENAI_API_KEY") or _NO_KEY,
            base_url=endpoint.base_url,
            default_query=endpoint.query,
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
            answer = await self._client.chat.completions.with_raw_response.create(model=request.model, **given)
        # Read here and not by the SDK, which takes whatever a server sends for a completion.
        content = object_in(_NAME, answer.http_response.content, answer.headers)
        return self._reply(request, content, answer.headers)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.close()

    def _reply(self, request: Request, content: Mapping[str, Any], headers: Mapping[str, str]) -> Reply:
        choices = content.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else None
        if not isinstance(choice, dict):
            raise unreadable(_NAME, "choices", content)
        stop = choice.get("finish_reason")
        message = choice.get("message")
        error = choice.get("error") or (message.get("error") if isinstance(message, dict) else None)
        if error or str(stop).lower() == "error":
            raise error_in_success(_NAME, error or {}, headers)
        if not isinstance(message, dict):
            if not isinstance(stop, str):
                raise unreadable(_NAME, "a message", content)
            message = {}  # filtered by a server that sends nothing in its place
        text = joined(message.get("content"))
        if not text and (message.get("refusal") or has_part(message.get("content"), "refusal")):
            stop = _REFUSED
        reported = _reported(content.get("usage"))
        read, written = reported.spent(
            estimated_tokens(request, self._bytes_per_token), text_tokens(text, self._bytes_per_token)
        )
        return Reply(text, read, written, stop if isinstance(stop, str) else "", reported.least)


@contextmanager
def _translated() -> Iterator[None]:
    """Translate the SDK's errors. None of them stays in the chain: a traceback of a user's would show its text."""
    try:
        yield
    except openai.APIStatusError as error:
        raise error_of(fault_of(_NAME, error.status_code, error.body, error.message), error.response.headers) from None
    except openai.APIConnectionError as error:
        raise of_connection(_NAME, error) from None
    except UnicodeEncodeError as error:
        raise InputRefused(f"the input is not text that can be sent to {_NAME}", str(error)) from None
    except (openai.OpenAIError, ValueError) as error:
        raise CallUnclear(f"{_NAME} sent an unreadable answer ({type(error).__name__})", str(error)) from None


def _reported(usage: object) -> Reported:
    if not isinstance(usage, dict):
        return Reported()
    details = usage.get("completion_tokens_details")
    return Reported(
        tokens(usage.get("prompt_tokens")),
        tokens(usage.get("completion_tokens")),
        tokens(usage.get("total_tokens")),
        tokens(details.get("reasoning_tokens")) if isinstance(details, dict) else None,
    )
