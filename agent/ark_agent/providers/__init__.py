"""What answers LLM calls: one module for each provider; `make` finds it by name.

A provider makes one call and translates what can go wrong. Budgets, waiting and trying again are `ark_agent.calls`'.
The SDKs are extras of this project and loaded only where they are used.
"""

from __future__ import annotations

import importlib
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol
from urllib.parse import urlsplit

from ark_agent.providers.errors import BadProvider
from ark_taskqueue import Task

Name = Literal["anthropic", "openai", "echo"]
_MODELS: tuple[tuple[str, Name], ...] = (
    ("claude", "anthropic"),
    ("gpt-", "openai"),
    ("chatgpt-", "openai"),
    ("o1", "openai"),
    ("o3", "openai"),
    ("o4", "openai"),
    ("echo", "echo"),
)
"""What the names of each provider's own models begin with."""
_TOKENS_PER_MESSAGE = 16
"""More than any chat format adds to a message."""
_TOKENS_PER_CALL = 64


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Literal["user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class Request:
    """One LLM call."""

    task: Task
    model: str
    messages: Sequence[Message]
    system: str = ""


@dataclass(frozen=True, slots=True)
class Reply:
    """What an LLM answered."""

    text: str
    input_tokens: int | None
    """Tokens that it read, those from a cache included; None where the provider does not say."""
    output_tokens: int | None
    """Tokens that it wrote; None where the provider does not say."""
    stop: str
    """Why it stopped, in the provider's words."""


class Provider(Protocol):
    """Makes LLM calls; must let itself be cancelled at any await."""

    async def count(self, request: Request) -> int:
        """Answer how many tokens the LLM will read, rather too many than too few.

        Raises:
            ProviderError: see `call`.
        """

    async def call(self, request: Request, output_tokens: int) -> Reply:
        """Make the call.

        Args:
            request: what is asked.
            output_tokens: the most that the LLM may write.

        Raises:
            ProviderError: there is no answer; its kind says what to do about it.
        """

    async def aclose(self) -> None:
        """Close what is open."""


@dataclass(frozen=True, slots=True)
class ProviderOptions:
    """What the settings say about the provider."""

    name: Literal["auto", "anthropic", "openai", "echo"] = "auto"
    model: str = "echo"
    base_url: str | None = None
    """None: the SDK's own, or what its environment variable says."""
    bytes_per_token: float = 2.0
    """What input is estimated by where nothing counts it."""
    output_limit_field: Literal["auto", "max_tokens", "max_completion_tokens"] = "auto"
    timeout_seconds: float = 120.0


def make(options: ProviderOptions) -> Provider:
    """Make the provider that the settings name.

    Raises:
        BadProvider: its SDK is not installed, its key is missing, or nothing says which it is.
    """
    name = name_of(options)
    if not options.model:
        raise BadProvider(f"--model (AGENT_MODEL) is missing: provider {name} needs to know which model to ask")
    _check_url(options.base_url or os.environ.get(f"{name.upper()}_BASE_URL"))
    try:
        module = importlib.import_module(f"ark_agent.providers.{name}")
    except ModuleNotFoundError as error:
        raise BadProvider(
            f"provider {name} needs Python package {error.name!r}: install ark with the extra {name!r}"
        ) from None
    made: Provider = module.make(options)
    return made


def name_of(options: ProviderOptions) -> Name:
    """Answer the provider's name, by the model's where none is given.

    Raises:
        BadProvider: nothing says which it is.
    """
    if options.name != "auto":
        return options.name
    for beginning, name in _MODELS:
        if options.model.startswith(beginning):
            return name
    raise BadProvider(
        f"--model (AGENT_MODEL) is {options.model!r}, which tells no provider: set --provider (AGENT_PROVIDER) to "
        "anthropic, openai (any server that speaks its API, see --base-url) or echo"
    )


def _check_url(url: str | None) -> None:
    if not url:
        return
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        good = False
    if not good:
        raise BadProvider(f"the provider's base URL is {url!r}: give http://host:port/path or https://host/path")


def most_tokens(request: Request) -> int:
    """Answer a bound on the tokens of a call's input that holds for any tokenizer which works on bytes: a token has one
    byte at least.
    """
    return _bytes(request) + _overhead(request)


def estimated_tokens(request: Request, bytes_per_token: float) -> int:
    """Answer about how many tokens a call's input has, never more than `most_tokens`."""
    plain = sum(len(text.encode("ascii", "ignore")) for text in _texts(request))
    # What is no ASCII may be a token for each byte, in rare scripts and signs.
    return math.ceil(plain / max(1.0, bytes_per_token)) + _bytes(request) - plain + _overhead(request)


def _texts(request: Request) -> list[str]:
    return [request.system, *(message.content for message in request.messages)]


def _bytes(request: Request) -> int:
    return sum(len(text.encode("utf-8", "surrogatepass")) for text in _texts(request))


def _overhead(request: Request) -> int:
    return _TOKENS_PER_CALL + _TOKENS_PER_MESSAGE * len(request.messages)
