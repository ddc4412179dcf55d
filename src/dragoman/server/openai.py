"""POST /v1/chat/completions and /v1/completions: the engines' own API, passed on."""

from __future__ import annotations

import msgspec

from dragoman.engines.base import RelayedAnswer
from dragoman.errors import DragomanError
from dragoman.observe.metrics import Metrics
from dragoman.server.exchange import Exchange, Headers, require_json
from dragoman.server.guard import Guard
from dragoman.server.messages import engine_headers
from dragoman.server.traffic import Traffic
from dragoman.service.openai_door import Caller, OpenAIDoor, Passing, Tail
from dragoman.settings import Settings
from dragoman.wire.openai import ChatUsage

_SESSION = b"x-session-id"


class OpenAIEndpoint:
    """One path of that API; errors of ours have the envelope of all, which OpenAI's clients read, too."""

    def __init__(
        self,
        path: str,
        door: OpenAIDoor,
        *,
        metrics: Metrics,
        settings: Settings,
        guard: Guard,
        traffic: Traffic,
    ) -> None:
        self._path = path
        self._door = door
        self._metrics = metrics
        self._settings = settings
        self._guard = guard
        self._traffic = traffic

    async def create(self, exchange: Exchange) -> None:
        """Passes a request on, and its answer back, streamed or whole."""
        async with self._traffic.admit(exchange):
            if self._guard.is_open:
                require_json(exchange)
            settings = self._settings
            body = await exchange.body(limit=settings.limits.body_bytes, seconds=settings.timeouts.body)
            caller = Caller(
                scope=exchange.scope_name, session=exchange.header(_SESSION), request_id=exchange.request_id
            )
            passing = self._door.read(self._path, body, caller)
            exchange.model = passing.requests[0].model
            exchange.watch()
            if passing.is_streamed:
                await self._stream(exchange, passing)
            else:
                await self._whole(exchange, passing)

    async def _whole(self, exchange: Exchange, passing: Passing) -> None:
        answer = await self._door.whole(passing)
        self._note(exchange, passing.engine, answer.usage)
        kind = (b"content-type", answer.content_type.encode("latin-1"))
        await exchange.respond(answer.status, answer.body, [kind, *self._headers(passing.engine)])

    async def _stream(self, exchange: Exchange, passing: Passing) -> None:
        answer = await self._door.stream(passing)
        tail = Tail()
        try:
            if answer.status != 200:
                await self._refused(exchange, answer)
                return
            exchange.on_error = _error_event
            await exchange.begin_stream(self._headers(answer.engine), stall=self._settings.timeouts.stall)
            async for piece in answer:
                tail.feed(piece)
                await exchange.write(piece)
            await exchange.end()
        finally:
            await answer.aclose()
            self._note(exchange, answer.engine, tail.usage)

    async def _refused(self, exchange: Exchange, answer: RelayedAnswer) -> None:
        """A mistake of the client, in the engine's words."""
        body = b"".join([piece async for piece in answer])
        kind = (b"content-type", answer.content_type.encode("latin-1"))
        await exchange.respond(answer.status, body, [kind, *self._headers(answer.engine)])

    def _headers(self, engine: str) -> Headers:
        return engine_headers(self._door.client, engine)

    def _note(self, exchange: Exchange, engine: str, usage: ChatUsage | None) -> None:
        exchange.notes["engine"] = engine
        if usage is not None:
            cached = max(0, min(usage.cached_tokens, usage.prompt_tokens))
            read = usage.prompt_tokens - cached
            self._metrics.tokens(exchange.model, read=read, cached=cached, written=usage.completion_tokens)
            exchange.notes |= {"input_tokens": read, "output_tokens": usage.completion_tokens}


def _error_event(error: DragomanError) -> bytes:
    """An error in a stream, as OpenAI's clients read it."""
    told = {"error": {"message": error.message, "type": error.type, "code": error.status}}
    return b"data: %b\n\n" % msgspec.json.encode(told)
