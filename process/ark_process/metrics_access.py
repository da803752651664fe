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
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

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
_MOST_QUESTIONS = 4
"""So many at a time: whoever reaches this endpoint can make us ask."""
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


class MetricsAccess:
    """Asks the API server, and remembers its answers for a minute."""

    def __init__(self, api_server: str, authority: Path | None, clock: Callable[[], float] = time.monotonic) -> None:
        """
        Args:
            api_server: its URL, ``https://...``.
            authority: PEM file with the CA of its certificate, read at each question; the system's CAs where None.
            clock: monotonic time, seconds.
        """
        self._url = api_server.rstrip("/") + _PATH
        self._authority = authority
        self._clock = clock
        self._known: dict[bytes, tuple[float, Refusal | None]] = {}
        """Answers by the token's hash, with their time; the oldest one is the first."""
        self._questions = asyncio.Semaphore(_MOST_QUESTIONS)
        self._log = structlog.get_logger(component="metrics-access")

    async def refusal(self, authorization: str | None) -> Refusal | None:
        """Answer why a caller may not see the metrics; None where it may.

        Args:
            authorization: the request's header of that name.
        """
        if authorization is None or not authorization.lower().startswith(_SCHEME):
            return _NO_TOKEN
        token = authorization[len(_SCHEME) :].strip()
        if not token:
            return _NO_TOKEN
        key = hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
        if self._age(key) < _REMEMBER_SECONDS:
            return self._known[key][1]
        try:
            async with asyncio.timeout(_SECONDS), self._questions:
                if self._age(key) < _REMEMBER_SECONDS:
                    return self._known[key][1]  # somebody else has asked meanwhile
                answer = await self._ask(token)
        except TimeoutError:
            answer = _UNKNOWN
        if answer is not _UNKNOWN:
            self._remember(key, answer)
        elif self._age(key) < _TRUST_SECONDS and self._known[key][1] is None:
            return None
        return answer

    def _age(self, key: bytes) -> float:
        """Answer how old an answer is, seconds; endless where there is none."""
        known = self._known.get(key)
        return math.inf if known is None else self._clock() - known[0]

    def _remember(self, key: bytes, answer: Refusal | None) -> None:
        self._known.pop(key, None)
        while len(self._known) >= _MOST_REMEMBERED:
            del self._known[next(iter(self._known))]
        self._known[key] = (self._clock(), answer)

    async def _ask(self, token: str) -> Refusal | None:
        try:
            context = _context(self._authority)
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_SECONDS)) as session,
                session.post(
                    self._url, json=_QUESTION, headers={"Authorization": f"Bearer {token}"}, ssl=context
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


def _context(authority: Path | None) -> ssl.SSLContext:
    """Answer what the API server's certificate is checked by, as kubectl checks it.

    Python 3.13 refuses a CA without an authority key identifier; many clusters have one.
    """
    context = ssl.create_default_context(cafile=authority)
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context
