"""POST /v1/messages and POST /v1/messages/count_tokens."""

from __future__ import annotations

from functools import lru_cache

import msgspec

from dragoman.errors import InvalidRequestError
from dragoman.routing.client import InferenceEngineClient
from dragoman.routing.session import session_key
from dragoman.server.exchange import JSON, Exchange, Headers, betas_of, require_json, require_version
from dragoman.server.guard import Guard
from dragoman.server.traffic import Traffic
from dragoman.service import Answer, AnswerStream, MessagesService
from dragoman.settings import Settings
from dragoman.wire.anthropic.codec import decode_count, decode_messages, unknown_fields
from dragoman.wire.anthropic.models import TokenCount
from dragoman.wire.anthropic.request import CountTokensRequest, MessagesRequest
from dragoman.wire.anthropic.response import Usage
from dragoman.wire.identity import Caller, SessionKey


class OriginalCount(msgspec.Struct):
    """The count before the edits of the context."""

    original_input_tokens: int


class ManagedTokenCount(TokenCount):
    """The answer to a count that asked for context management."""

    context_management: OriginalCount


class MessagesEndpoint:
    """The two questions that reach a model."""

    def __init__(self, service: MessagesService, settings: Settings, guard: Guard, traffic: Traffic) -> None:
        self._service = service
        self._settings = settings
        self._guard = guard
        self._traffic = traffic

    async def create(self, exchange: Exchange) -> None:
        """Answers a Messages request, streamed or whole."""
        async with self._traffic.admit(exchange):
            body = await self._body(exchange)
            request = decode_messages(body)
            caller = self._caller(exchange, request, body, MessagesRequest)
            exchange.watch()
            if request.stream:
                stream = await self._service.stream(request, caller, size=len(body))
                await self._stream(exchange, stream)
            else:
                answer = await self._service.create(request, caller, size=len(body))
                await self._whole(exchange, answer)

    async def count(self, exchange: Exchange) -> None:
        """Counts the tokens of a request's prompt."""
        async with self._traffic.admit(exchange):
            body = await self._body(exchange)
            request = decode_count(body)
            caller = self._caller(exchange, request, body, CountTokensRequest)
            exchange.watch()
            found = await self._service.count_tokens(request, caller)
            exchange.notes["input_tokens"] = found.input_tokens
            counted = (
                TokenCount(found.input_tokens)
                if request.context_management is None
                else ManagedTokenCount(found.input_tokens, OriginalCount(found.original_input_tokens))
            )
            await exchange.respond(200, msgspec.json.encode(counted))

    async def _whole(self, exchange: Exchange, answer: Answer) -> None:
        _note(exchange, answer.engine, answer.message.usage, answer.message.stop_reason)
        headers = [JSON, *engine_headers(self._service.client, answer.engine)]
        try:
            await exchange.respond(200, answer.body, headers)
        except BaseException:  # whatever kept it from the client: it was not delivered
            await answer.recording.released()
            raise
        await answer.recording.delivered()

    async def _stream(self, exchange: Exchange, answer: AnswerStream) -> None:
        exchange.on_error = answer.fail
        try:
            stall = self._settings.timeouts.stall
            await exchange.begin_stream(engine_headers(self._service.client, answer.engine), stall=stall)
            await answer.play(exchange.write)
            await exchange.end()
        finally:
            await answer.aclose()
            _note(exchange, answer.engine, _usage(answer), answer.events.stop_reason)
            if answer.error is not None:
                exchange.notes["error"] = answer.error.type
            if answer.events.undelivered_calls:
                exchange.notes["undelivered_calls"] = answer.events.undelivered_calls

    async def _body(self, exchange: Exchange) -> bytes:
        if self._guard.is_open:
            require_json(exchange)
        settings = self._settings
        return await exchange.body(limit=settings.limits.body_bytes, seconds=settings.timeouts.body)

    def _caller(
        self, exchange: Exchange, request: CountTokensRequest, body: bytes, kind: type[CountTokensRequest]
    ) -> Caller:
        """Who asks, and for which model; in strict mode, whether the request holds what it may not."""
        version = require_version(exchange)
        if self._settings.strict:
            for path in unknown_fields(body, kind):
                raise InvalidRequestError(f"{path}: Extra inputs are not permitted")
        exchange.model = self._service.resolve(request.model)
        headers = exchange.headers()
        return Caller(
            request_id=exchange.request_id,
            scope=exchange.scope_name,
            session=SessionKey(exchange.rollout, "rollout key")
            if exchange.rollout
            else session_key(request, headers),
            agent_id=headers.get("x-claude-code-agent-id"),
            parent_agent_id=headers.get("x-claude-code-parent-agent-id"),
            betas=betas_of(exchange),
            api_version=version,
        )


def engine_headers(client: InferenceEngineClient, engine: str) -> Headers:
    """Which engine answers, and with which weights, where it tells."""
    if not engine:
        return []
    version = client.weight_version(engine)
    told = [(b"x-dragoman-engine", _plain(engine))]
    return [*told, (b"x-dragoman-weight-version", _plain(version))] if version else told


@lru_cache(maxsize=256)
def _plain(name: str) -> bytes:
    """A name as a header can hold it."""
    return "".join(c if c.isascii() and c.isprintable() else "_" for c in name).encode()


def _usage(answer: AnswerStream) -> Usage:
    """Tokens read and written; of an answer that was interrupted, what is known."""
    usage, early = answer.events.usage, answer.early
    if usage is not None or early is None:
        return usage or Usage(input_tokens=0, output_tokens=0)
    read = max(0, early.prompt_tokens - early.cached_tokens)
    return Usage(input_tokens=read, output_tokens=0, cache_read_input_tokens=early.cached_tokens)


def _note(exchange: Exchange, engine: str, usage: Usage, stop: str | None) -> None:
    """What the log line says about an answer; as in the API, `input_tokens` leaves out the cached ones."""
    exchange.notes["input_tokens"] = usage.input_tokens
    exchange.notes["cached_tokens"] = usage.cache_read_input_tokens
    exchange.notes["output_tokens"] = usage.output_tokens
    if engine:
        exchange.notes["engine"] = engine
    if stop:
        exchange.notes["stop"] = stop
