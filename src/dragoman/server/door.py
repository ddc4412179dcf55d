"""The door: every request passes here once, and every error leaves in the API's envelope."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Mapping

from starlette.routing import Router
from starlette.types import Receive, Scope, Send

from dragoman.errors import (
    THREAD_REPLAYED,
    ApiError,
    DragomanError,
    MethodNotAllowedError,
    NotFoundError,
    ThreadUnsupportedError,
)
from dragoman.observe.logs import LOGGER, log, log_error, reason_of
from dragoman.observe.metrics import Metrics
from dragoman.server.exchange import ClientGoneError, ClientStalledError, Exchange
from dragoman.server.guard import Guard
from dragoman.settings import Settings

Handler = Callable[[Exchange], Awaitable[None]]

# The key of the exchange in the scope that the router hands on.
EXCHANGE = "dragoman.exchange"
_PROBES = frozenset({"/health", "/ready", "/metrics"})
# What stands in logs and metrics for a client that left before its answer began.
_NOBODY = 499


class Door:
    """The outermost ASGI application: it wraps no stream, it only opens and closes exchanges."""

    def __init__(
        self, router: Router, guard: Guard, settings: Settings, metrics: Metrics, new_id: Callable[[], str]
    ) -> None:
        self._router = router
        self._guard = guard
        self._metrics = metrics
        self._new_id = new_id
        self._linger = (settings.limits.body_bytes, settings.timeouts.body)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One event of the ASGI server: a request, or the server's own start and end."""
        if scope["type"] != "http":
            await self._router(scope, receive, send)
            return
        exchange = Exchange(scope, receive, send, self._new_id())
        scope[EXCHANGE] = exchange
        began = time.perf_counter()
        self._metrics.started()
        try:
            await self._answer(exchange, receive, send)
        finally:
            seconds = time.perf_counter() - began
            status = exchange.status or _NOBODY
            self._metrics.finished(exchange.route, status, exchange.model, seconds)
            _log_request(exchange, status, seconds)
            # the scope and its exchange know each other; apart, they need no garbage collector
            del scope[EXCHANGE]

    async def _answer(self, exchange: Exchange, receive: Receive, send: Send) -> None:
        try:
            self._guard.check_host(exchange)
            exchange.extra += self._guard.cors_headers(exchange)
            await self._router(exchange.scope, receive, send)
        except ClientGoneError:
            self._lost(exchange, "disconnected")
        except ClientStalledError:
            self._lost(exchange, "stalled")
            await exchange.abort()
        except DragomanError as error:
            await self._refuse(exchange, error)
        except Exception as error:  # noqa: BLE001 - the last line of defence: whatever fails, the client gets an envelope
            log(logging.ERROR, "unexpected failure", {"id": exchange.request_id}, error)
            await self._refuse(exchange, ApiError("internal server error"))

    def _lost(self, exchange: Exchange, how: str) -> None:
        exchange.notes["client"] = how
        self._metrics.client_lost(how)

    async def _refuse(self, exchange: Exchange, error: DragomanError) -> None:
        if isinstance(error, ThreadUnsupportedError):
            exchange.notes["note"] = "expected: the client goes on without threads"
        elif isinstance(error, THREAD_REPLAYED):
            exchange.notes["note"] = "expected: the client sends the whole conversation"
        else:
            exchange.notes["error"] = error.type
            if error.status < 500:
                exchange.notes["why"] = reason_of(error)
        log_error(exchange.request_id, error)
        await exchange.refuse(error, linger=self._linger)


class Endpoint:
    """One path: a handler per method. `is_public` paths need no key; `before` is awaited before a handler."""

    def __init__(
        self,
        guard: Guard,
        handlers: Mapping[str, Handler],
        *,
        is_public: bool = False,
        before: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._guard = guard
        self._handlers = dict(handlers)
        if "GET" in handlers:
            self._handlers["HEAD"] = handlers["GET"]
        self._allowed = ", ".join(self._handlers)
        self._is_public = is_public
        self._before = before

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        exchange: Exchange = scope[EXCHANGE]
        exchange.route = scope["route"].path
        handler = self._handlers.get(exchange.method)
        if handler is None:
            await self._other_method(exchange)
            return
        if not self._is_public:
            exchange.scope_name = self._guard.name_of(exchange)
        if self._before is not None:
            await self._before()
        await handler(exchange)

    async def _other_method(self, exchange: Exchange) -> None:
        is_preflight = exchange.method == "OPTIONS" and exchange.header(b"access-control-request-method")
        if is_preflight and self._guard.cors_headers(exchange):
            await exchange.respond(200, b"", self._guard.preflight_headers(exchange, self._allowed))
            return
        exchange.extra.append((b"allow", self._allowed.encode()))
        raise MethodNotAllowedError(f"{exchange.route} takes {self._allowed}, not {exchange.method}")


async def not_found(scope: Scope, receive: Receive, send: Send) -> None:
    """The answer of every path that is not served."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1000, "reason": ""})
        return
    path: str = scope[EXCHANGE].path
    if path.startswith("/v1/v1/"):
        raise NotFoundError(
            f"{path} is not served here; the base URL must not end in /v1, clients add it themselves"
        )
    raise NotFoundError(f"{path[:200]} is not served here")


def _log_request(exchange: Exchange, status: int, seconds: float) -> None:
    level = _level(exchange)
    if not LOGGER.isEnabledFor(level):
        return
    fields: dict[str, str | int | float] = {
        "id": exchange.request_id,
        "method": exchange.method,
        "path": exchange.path[:200],
        "status": status,
        "seconds": round(seconds, 4),
    }
    if exchange.scope_name:
        fields["key"] = exchange.scope_name
    if exchange.model:
        fields["model"] = exchange.model
    log(level, "request", fields | exchange.notes)


def _level(exchange: Exchange) -> int:
    """Probes come every few seconds and say nothing: they are worth a line only to who debugs."""
    is_probe = exchange.route in _PROBES and exchange.status < 400
    return logging.DEBUG if is_probe else logging.INFO
