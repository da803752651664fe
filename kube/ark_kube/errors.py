"""What can go wrong with a call of the API server."""

from __future__ import annotations

_REFUSALS = frozenset({400, 403, 422})
MALFORMED_APPLY = "failed to create typed patch object"
"""What the API server says, with a 500, of an apply whose fields are unknown or of another kind (Kubernetes 1.36)."""


class ApiError(Exception):
    """The API server refused a call."""

    def __init__(self, call: str, status: int, message: str) -> None:
        super().__init__(f"{call}: {status} {message}")
        self.status = status
        self.message = message
        """What the API server said."""

    @property
    def refuses_object(self) -> bool:
        """Whether the API server, or an admission webhook, does not take the object as it is."""
        return self.status in _REFUSALS or MALFORMED_APPLY in self.message


class ApiUnavailable(Exception):
    """The API server did not answer, or cannot do so just now; the same call may work later."""


class NoApiServer(Exception):
    """Nothing says which API server to talk to, or with which credentials."""
