"""How the server is: for probes, balancers and scrapers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import ClassVar

import msgspec

from dragoman import __version__
from dragoman.errors import ApiError, DragomanError
from dragoman.server.exchange import Exchange
from dragoman.server.traffic import Traffic
from dragoman.service import MessagesService


class NotReadyError(ApiError):
    """503: a probe is told not to send anybody here now."""

    status: ClassVar[int] = 503


class Greeting(msgspec.Struct):
    """What this is."""

    name: str = "dragoman"
    version: str = __version__
    api: str = "/v1/messages"


class StatusEndpoint:
    """The answers that need no model; `start` starts the engines where they are not."""

    def __init__(
        self, service: MessagesService, traffic: Traffic, start: Callable[[], Awaitable[None]]
    ) -> None:
        self._service = service
        self._traffic = traffic
        self._start = start

    async def hello(self, exchange: Exchange) -> None:
        """Says what this is; clients probe with it."""
        await exchange.respond(200, msgspec.json.encode(Greeting()))

    async def health(self, exchange: Exchange) -> None:
        """Whether this process runs."""
        await exchange.respond(200, b'{"status":"ok"}')

    async def ready(self, exchange: Exchange) -> None:
        """Whether a request could be answered now: an engine is there, and the server is not stopping."""
        if self._traffic.draining:
            raise NotReadyError("the server is shutting down")
        try:
            await self._start()
        except DragomanError as error:
            raise NotReadyError(error.message, log_detail=error.log_detail) from error
        health = await self._service.health()
        if health.status != "ok":
            raise NotReadyError(f"the engine is not ready: {health.status}", log_detail=health.detail)
        await exchange.respond(200, b'{"status":"ok"}')

    async def metrics(self, exchange: Exchange) -> None:
        """The metrics, for Prometheus."""
        metrics = self._service.metrics
        await exchange.respond(200, metrics.render(), [(b"content-type", metrics.content_type.encode())])
