"""Keep known secrets out of whatever leaves the process: logs, dead letters, answers of its HTTP endpoint.

What is never written is best; this is the net below that. A library's error, or a provider's that quotes the key it was
sent, may carry a secret to a place that nobody thought of, so the values themselves are looked for.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from urllib.parse import parse_qsl, quote, unquote, urlsplit

HIDDEN = "[hidden]"
"""Stands where a secret was."""
_SHORTEST = 6
"""Characters; a shorter value occurs in too many texts by chance."""
_NAMES = re.compile(
    r"(?:API_?KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?|SIGNATURE|(?:^|_)(?:AUTH|CODE|KEY|PASS|PAT|PWD|SIG))$",
    re.IGNORECASE,
)
"""What the names of variables, and of values in a URL, with a secret end with: ANTHROPIC_API_KEY, PGPASSWORD, code."""
_HEADERS = re.compile(r"(?:^|_)HEADERS$", re.IGNORECASE)
"""Variables with HTTP headers: ``name: value`` or ``name=value``, separated by commas or line ends."""
_USER_INFO = re.compile(r"://(?P<userinfo>[^\s@]*)@")


class Scrubber:
    """Takes known secrets out of texts.

    Args:
        secrets: the values; those shorter than six characters are passed over.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        forms = {form for secret in secrets if len(secret) >= _SHORTEST for form in _forms(secret)}
        # The longest first: one secret may be the beginning of another.
        ordered = sorted(forms, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, ordered))) if ordered else None

    def __call__(self, text: str) -> str:
        """Return the text without the secrets."""
        return text if self._pattern is None else self._pattern.sub(HIDDEN, text)


def of_environment(environment: Mapping[str, str] | None = None) -> set[str]:
    """Return the values of the environment's variables that are secrets by their names, and passwords in its URLs.

    Args:
        environment: the process's own where None.
    """
    found: set[str] = set()
    for name, value in (os.environ if environment is None else environment).items():
        if _NAMES.search(name):
            found.add(value.strip())
        if _HEADERS.search(name):
            found |= of_headers(value)
        if "://" in value:
            found |= of_urls(value)
    return found


def of_headers(text: str) -> set[str]:
    """Return what may be secret in a list of HTTP headers: each value, and its last word, as after ``Bearer``."""
    values = {re.split(r"[:=]", header, maxsplit=1)[-1].strip() for header in re.split(r"[,\n]", text)}
    return {text.strip(), *values, *(unquote(value).split()[-1] for value in values if value.split())}


def of_urls(text: str) -> set[str]:
    """Return what is secret in the URLs of a text: user info, and values of the query.

    Every URL counts, those that cannot be parsed too: a password with an unescaped ``/`` or ``@`` is still one.
    """
    found: set[str] = set()
    for word in text.split():
        # The last "@" that can end the user info, and the first: which one was meant is not to be known.
        for userinfo in {word.partition("://")[2].rpartition("@")[0], *_USER_INFO.findall(word)}:
            password = userinfo.partition(":")[2] or userinfo
            found |= {userinfo, password, unquote(password)}
        try:
            query = urlsplit(word).query
        except ValueError:
            continue
        found |= {value for name, value in parse_qsl(query) if _NAMES.search(_snake(name))}
    return found - {""}


def _snake(name: str) -> str:
    """Return ``subscription-key`` and ``subscriptionKey`` as ``subscription_key``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name.replace("-", "_"))


def _forms(secret: str) -> set[str]:
    """Return the secret as texts may have it: plain, percent-encoded, in JSON, and as Python's repr writes it."""
    return {secret, quote(secret, safe=""), json.dumps(secret)[1:-1], repr(secret)[1:-1]}
