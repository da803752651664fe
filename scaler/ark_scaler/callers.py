"""Who may call: with mTLS only clients whose certificates have KEDA's name.

A CA often signs for others too: with cert-manager's ClusterIssuer any tenant of the cluster can get a certificate of
it, and would read every queue.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from typing import Any, TypeAlias

import grpc
import structlog

_COMMON_NAME = "x509_common_name"
_DNS_NAME = "peer_dns"
"""DNS names among the alternative ones; others (a URI, a mail address) name no host."""
_HEALTH = "/grpc.health.v1.Health/"
"""Whether the scaler serves is no secret."""

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


class CallersNames(grpc.aio.ServerInterceptor):
    """Refuses calls of clients whose certificates have other names.

    Args:
        names: each may call.
    """

    def __init__(self, names: Collection[str]) -> None:
        self._names = frozenset(names)
        self._log = structlog.get_logger(component="callers")
        self._refused: set[tuple[str, ...]] = set()

    async def intercept_service(
        self, further: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]], details: grpc.HandlerCallDetails
    ) -> Handler | None:
        """Return the handler of a call, with a look at the caller's certificate before it."""
        handler = await further(details)
        if handler is None or str(details.method).startswith(_HEALTH):
            return handler
        return self._checked(handler)

    def _checked(self, handler: Any) -> Handler:
        if handler.response_streaming:
            stream = handler.unary_stream or handler.stream_stream

            async def streaming(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
                await self._check(context)
                return await stream(request, context)

            make = grpc.stream_stream_rpc_method_handler if handler.request_streaming else None
            make = make or grpc.unary_stream_rpc_method_handler
            return make(streaming, handler.request_deserializer, handler.response_serializer)

        single = handler.unary_unary

        async def answering(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            await self._check(context)
            return await single(request, context)

        return grpc.unary_unary_rpc_method_handler(answering, handler.request_deserializer, handler.response_serializer)

    async def _check(self, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        seen = context.auth_context()
        names = {name.decode("utf-8", "replace") for key in (_COMMON_NAME, _DNS_NAME) for name in seen.get(key, ())}
        if names & self._names:
            return
        shown = tuple(sorted(names))
        if shown not in self._refused and len(self._refused) < 100:  # each once: whoever calls can call often
            self._refused.add(shown)
            self._log.warning("client refused for its certificate's names", names=shown, allowed=sorted(self._names))
        await context.abort(
            grpc.StatusCode.PERMISSION_DENIED,
            "the client's certificate has none of the allowed names (--tls-client-names)",
        )
