"""What answers LLM calls: one module for each provider; `make` finds it by name.

A provider makes one call and translates what can go wrong. Budgets, waiting and trying again are `ark_agent.calls`'.
The SDKs are extras of this project and loaded only where they are used.
"""

from __future__ import annotations

import importlib
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol
from urllib.parse import parse_qsl, urlsplit

from ark_agent.providers.errors import BadProvider
from ark_taskqueue import Task

Name = Literal["anthropic", "openai", "echo"]
_MODELS: tuple[tuple[str, Name], ...] = (
    ("claude", "anthropic"),
    ("gpt-", "openai"),
    ("chatgpt-", "openai"),
    ("codex-", "openai"),
    ("computer-use-", "openai"),
    ("ft:", "openai"),
    ("o1", "openai"),
    ("o3", "openai"),
    ("o4", "openai"),
    ("echo", "echo"),
)
"""What the names of each provider's own models begin with: those that the SDKs list (``openai.types.AllModels``,
``anthropic.types.Model``), and ``ft:`` for fine-tuned ones (OpenAI's API reference, "Fine-tuning"). A test compares."""
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
    least_tokens: int = 0
    """What the call has cost at least, where one of the two is not known."""


class Estimate(int):
    """A number of tokens that could not be counted this time, though it may be the next."""


class Provider(Protocol):
    """Makes LLM calls; must let itself be cancelled at any await."""

    async def count(self, request: Request) -> int:
        """Return the number of tokens that the LLM will read, rather too many than too few.

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
    base_url: str | None = field(default=None, repr=False)
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
    endpoint_of(options.base_url or os.environ.get(f"{name.upper()}_BASE_URL") or "http://unused")
    try:
        module = importlib.import_module(f"ark_agent.providers.{name}")
    except ModuleNotFoundError as error:
        raise BadProvider(
            f"provider {name} needs Python package {error.name!r}: install ark with the extra {name!r}"
        ) from None
    made: Provider = module.make(options)
    return made


def name_of(options: ProviderOptions) -> Name:
    """Return the provider's name, by the model's where none is given.

    Raises:
        BadProvider: nothing says which it is.
    """
    if options.name != "auto":
        return options.name
    for beginning, name in _MODELS:
        if options.model.startswith(beginning):
            return name
    raise BadProvider(
        f"--model (AGENT_MODEL) is {options.model!r}, which does not identify a provider: set --provider "
        "(AGENT_PROVIDER) to anthropic, openai (any server that speaks its API, see --base-url) or echo"
    )


def key_of(variable: str) -> str | None:
    """Return the key in a variable of the environment; None where there is none.

    Raises:
        BadProvider: it cannot be sent in a header, and every call would fail for that. It is not repeated.
    """
    key = os.environ.get(variable) or None
    if key is not None and (key != key.strip() or not key.isascii() or not key.isprintable()):
        raise BadProvider(
            f"{variable} has characters that a key cannot have, perhaps a trailing newline or space: put it into "
            "the agents' Secret as it is (kubectl create secret generic --from-literal)"
        )
    return key


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a provider's API is."""

    base_url: str = field(repr=False)
    """Without a query."""
    query: Mapping[str, str] = field(repr=False)
    """Goes with every request, as Azure's ``api-version`` does; it may hold a key."""


def endpoint_of(url: str) -> Endpoint:
    """Take a base URL apart: the SDKs append the paths of their calls, which a query in it would swallow.

    Raises:
        BadProvider: it is no URL for HTTP; it is not repeated, since it may have a key in it.
    """
    try:
        parts = urlsplit(url.strip())
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.fragment
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        _ = parts.port
    except ValueError:
        good, query = False, {}
    if not good:
        raise BadProvider(
            "the provider's base URL (AGENT_BASE_URL, ANTHROPIC_BASE_URL or OPENAI_BASE_URL) cannot be used: give "
            "http://host:port/path or https://host/path, with a query where the server wants one"
        )
    return Endpoint(parts._replace(query="").geturl(), query)


def most_tokens(request: Request) -> int:
    """Return a bound on the tokens of a call's input.

    It holds for any tokenizer that works on bytes: a token has one byte at least.
    """
    return _bytes(request) + _overhead(request)


def estimated_tokens(request: Request, bytes_per_token: float) -> int:
    """Return about how many tokens a call's input has, never more than `most_tokens`."""
    return sum(text_tokens(text, bytes_per_token) for text in _texts(request)) + _overhead(request)


def text_tokens(text: str, bytes_per_token: float) -> int:
    """Return about how many tokens a text has, rather too many than too few; one for each byte at most."""
    plain = len(text.encode("ascii", "ignore"))
    # What is no ASCII may be a token for each byte, in rare scripts and signs.
    return math.ceil(plain / max(1.0, bytes_per_token)) + _size(text) - plain


def _texts(request: Request) -> list[str]:
    return [request.system, *(message.content for message in request.messages)]


def _bytes(request: Request) -> int:
    return sum(_size(text) for text in _texts(request))


def _size(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


def _overhead(request: Request) -> int:
    return _TOKENS_PER_CALL + _TOKENS_PER_MESSAGE * len(request.messages)
