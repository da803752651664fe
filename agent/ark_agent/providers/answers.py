"""What the modules of HTTP providers have in common: reading an answer, and translating what their SDKs raise."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from ark_agent.providers.errors import CallFailed, CallUnclear, ProviderError
from ark_agent.providers.faults import error_in_success, status_in

_LONGEST_DETAIL = 64 * 1024
"""Characters; the worker takes known keys out before it shortens a text, so that none is cut in two."""
_ANSWERS = frozenset({"choices", "content", "input_tokens"})
"""Fields that an answer has, and an error has not."""
_ERRORS = 400
_TEXTS = frozenset({"text", "output_text"})
"""Types of parts that are the answer's text."""
_NEVER_SENT = frozenset(
    {
        "ConnectError",
        "ConnectTimeout",
        "InvalidURL",
        "LocalProtocolError",
        "PoolTimeout",
        "ProxyError",
        "UnsupportedProtocol",
    }
)


def object_in(provider: str, body: bytes, headers: Mapping[str, str]) -> dict[str, Any]:
    """Read the body of a success, which may hold an error all the same (routers answer so when a provider fails).

    Raises:
        ProviderError: the error in it, handled like the same HTTP status; `CallUnclear` where it is no JSON object.
    """
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise CallUnclear(f"{provider} answered with something other than JSON", str(error)) from None
    found = _error_in(content)
    if found is not None:
        raise error_in_success(provider, found, headers)
    if not isinstance(content, dict):
        raise CallUnclear(f"{provider} answered with JSON that is not an object", str(content)[:_LONGEST_DETAIL])
    return content


def _error_in(content: object) -> object:
    """Return the error that a body has in the place of an answer, in one of the forms that servers have; else None."""
    if isinstance(content, list):
        return next((found for one in content if (found := _error_in(one)) is not None), None)
    if not isinstance(content, Mapping):
        return None
    error = content.get("error") or content.get("errors")
    if isinstance(error, list) and error:
        error = error[0]
    if error:
        # A text may have its code and status beside it.
        return error if isinstance(error, Mapping) else {**content, "error": None, "message": str(error)}
    says_so = "error" in (content.get("object"), content.get("type"))
    return content if says_so or (not _ANSWERS & content.keys() and status_in(content) >= _ERRORS) else None


def of_connection(provider: str, error: Exception) -> ProviderError:
    """Return what a connection's failure means; what was not sent was not done."""
    cause = error.__cause__ or error
    name = type(cause).__name__
    # By their names, since each SDK brings an HTTP library of its own choice.
    if name in _NEVER_SENT:
        return CallFailed(f"{provider} cannot be reached ({name})", str(cause))
    return CallUnclear(f"{provider} did not answer in full ({name})", str(cause))


def unreadable(provider: str, what: str, content: object) -> CallUnclear:
    """Return the error for an answer that lacks what makes it one."""
    return CallUnclear(f"{provider} answered without {what}", str(content)[:_LONGEST_DETAIL])


def joined(parts: object) -> str:
    """Return the text of a content: a text, or the texts among its parts."""
    if isinstance(parts, str):
        return parts
    if not isinstance(parts, Iterable) or isinstance(parts, Mapping):
        return ""
    return "".join(_part(part) for part in parts)


def has_part(parts: object, kind: str) -> bool:
    """Return whether a content has a part of a type."""
    return isinstance(parts, list) and any(isinstance(part, Mapping) and part.get("type") == kind for part in parts)


def _part(part: object) -> str:
    if isinstance(part, str):
        return part
    text = part.get("text") if isinstance(part, Mapping) and part.get("type", "text") in _TEXTS else None
    return text if isinstance(text, str) else ""
