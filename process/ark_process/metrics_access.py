"""Who may see ``/metrics``: callers whom the Kubernetes API server lets GET the path ``/metrics``.

A caller sends its bearer token, as Prometheus does with its ServiceAccount's, and the API server is asked with that
very token what it may do (a SelfSubjectAccessReview, which every authenticated user may make). So a program that asks
needs no rights and no account of its own, unlike with a TokenReview.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import aiohttp
import structlog

_PATH = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
_QUESTION = {
    "apiVersion": "authorization.k8s.io/v1",
    "kind": "SelfSubjectAccessReview",
    "spec": {"nonResourceAttributes": {"path": "/metrics", "verb": "get"}},
}
_SECONDS = 5.0
"""The most that the API server may take."""
_REMEMBER_SECONDS = 60.0
"""How long an answer counts; a right that is taken back ends so much later."""
_TRUST_SECONDS = 600.0
"""How long an earlier yes counts while the API server does not answer: then above all people look at metrics."""
_MOST_REMEMBERED = 1000
"""Of each kind: however many tokens are refused, none that was accepted is forgotten for them."""
_MOST_QUESTIONS = 16
"""So many at a time: whoever reaches this endpoint can make us ask."""
_MOST_QUESTIONS_OF_ONE = 4
"""So many of them for callers at one address: however many tokens one Pod tries, others do not queue behind them."""
_PATIENCE_SECONDS = 9.0
"""The most that a caller waits for its turn and the answer: less than a scrape may take by Prometheus' default, 10 s.
Whose turn it is goes by arrival at each address, and the HTTP endpoint bounds how many can wait."""
_SCHEME = "bearer "


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a caller may not see the metrics."""

    status: int
    """HTTP status."""
    reason: str


_NO_TOKEN = Refusal(HTTPStatus.UNAUTHORIZED, "a bearer token is needed")
_BAD_TOKEN = Refusal(HTTPStatus.UNAUTHORIZED, "the API server does not know this token")
_FORBIDDEN = Refusal(
    HTTPStatus.FORBIDDEN, "this token may not GET /metrics: bind its account to a ClusterRole that may"
)
_UNKNOWN = Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "the API server does not say whether this token may GET /metrics")


class _Answers:
    """The API server's answers, by the hash of the token; the oldest is forgotten first."""

    def __init__(self) -> None:
        self._known: dict[bytes, tuple[float, Refusal | None]] = {}

    def age(self, key: bytes, now: float) -> float:
        """Return how old an answer is, seconds; endless where there is none."""
        known = self._known.get(key)
        return math.inf if known is None else now - known[0]

    def answer(self, key: bytes) -> Refusal | None:
        return self._known[key][1]

    def remember(self, key: bytes, now: float, answer: Refusal | None) -> None:
        while len(self._known) >= _MOST_REMEMBERED:
            del self._known[next(iter(self._known))]
        self._known[key] = (now, answer)

    def forget(self, key: bytes) -> None:
        self._known.pop(key, None)


class MetricsAccess:
    """Asks the API server, and remembers its answers for a minute.

    Args:
        api_server: its URL, ``https://...``.
        authority: PEM file with the CA of its certificate, read again when it changes; the system's CAs where None.
        clock: monotonic time, seconds.
    """

    def __init__(self, api_server: str, authority: Path | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._url = _bracketed(api_server).rstrip("/") + _PATH
        self._authority = authority
        self._clock = clock
        self._good = _Answers()
        self._bad = _Answers()
        self._questions = asyncio.Semaphore(_MOST_QUESTIONS)
        self._question_of_known = asyncio.Semaphore(_MOST_QUESTIONS)
        """For callers who might see the metrics the last time: strangers do not stand in their way."""
        self._questions_of_one: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        """By the caller's address."""
        self._asked: WeakValueDictionary[bytes, asyncio.Lock] = WeakValueDictionary()
        """One for each token that is asked about: those who show it meanwhile share the answer."""
        self._context: tuple[tuple[int, int] | None, ssl.SSLContext] | None = None
        """What the API server's certificate is checked by, and the state of the file that it is from."""
        self._log = structlog.get_logger(component="metrics-access")

    async def refusal(self, authorization: str | None, caller: str) -> Refusal | None:
        """Return why a caller may not see the metrics; None where it may.

        Args:
            authorization: the request's header of that name.
            caller: the address that it comes from, without the port.
        """
        token = _token(authorization or "")
        return _NO_TOKEN if not token else await self._refusal(token, caller)

    async def _refusal(self, token: str, caller: str) -> Refusal | None:
        key = hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
        known, answer = self._remembered(key)
        if known:
            return answer
        trusted = self._good.age(key, self._clock()) < _TRUST_SECONDS
        own = self._asked.setdefault(key, asyncio.Lock())
        turn = self._question_of_known if trusted else self._turn_of(caller)
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS), own, turn:
                known, answer = self._remembered(key)
                if known:
                    return answer  # somebody else has asked meanwhile
                answer = await self._ask(token)
        except TimeoutError:
            answer = _UNKNOWN
        if answer is _UNKNOWN:
            return None if trusted else answer
        self._good.forget(key)
        self._bad.forget(key)
        (self._good if answer is None else self._bad).remember(key, self._clock(), answer)
        return answer

    @asynccontextmanager
    async def _turn_of(self, caller: str) -> AsyncIterator[None]:
        """Wait until a caller who is not known yet may be asked about."""
        of_one = self._questions_of_one.setdefault(caller, asyncio.Semaphore(_MOST_QUESTIONS_OF_ONE))
        async with of_one, self._questions:
            yield

    def _remembered(self, key: bytes) -> tuple[bool, Refusal | None]:
        """Return whether an answer is known that still counts, and the answer."""
        for answers in (self._good, self._bad):
            if answers.age(key, self._clock()) < _REMEMBER_SECONDS:
                return True, answers.answer(key)
        return False, None

    async def _ask(self, token: str) -> Refusal | None:
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_SECONDS)) as session,
                session.post(
                    self._url, json=_QUESTION, headers={"Authorization": f"Bearer {token}"}, ssl=self._trusted()
                ) as response,
            ):
                if response.status == HTTPStatus.UNAUTHORIZED:
                    return _BAD_TOKEN
                if response.status == HTTPStatus.FORBIDDEN:
                    return _FORBIDDEN
                response.raise_for_status()
                answer: Any = await response.json()
                return None if answer["status"]["allowed"] is True else _FORBIDDEN
        except (aiohttp.ClientError, OSError, ValueError, KeyError, TypeError) as error:
            self._log.warning(
                "cannot ask the API server who may see the metrics", url=self._url, error=str(error) or repr(error)
            )
            return _UNKNOWN

    def _trusted(self) -> ssl.SSLContext:
        """Return what the API server's certificate is checked by: made anew where the file is another."""
        found = self._authority.stat() if self._authority is not None else None
        state = (found.st_mtime_ns, found.st_ino) if found is not None else None
        if self._context is None or self._context[0] != state:
            self._context = state, _context(self._authority)
        return self._context[1]


def _bracketed(url: str) -> str:
    """Return a URL with its IPv6 address in brackets, which Kubernetes' variables for the API server do not have."""
    scheme, _, place = url.partition("://")
    host, _, port = place.rstrip("/").rpartition(":")
    return f"{scheme}://[{host}]:{port}" if ":" in host and "[" not in host else url


def _token(authorization: str) -> str:
    return authorization[len(_SCHEME) :].strip() if authorization.lower().startswith(_SCHEME) else ""


def _context(authority: Path | None) -> ssl.SSLContext:
    """Return what the API server's certificate is checked by, as kubectl checks it.

    Python 3.13 refuses a CA without an authority key identifier; many clusters have one.
    """
    context = ssl.create_default_context(cafile=authority)
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context
