"""RemoteInferenceEngine: any OpenAI-compatible server, in its own dialect."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec

from dragoman.engines.asking import Questions
from dragoman.engines.base import (
    ChatStream,
    EngineHealth,
    EngineUnreachableError,
    InferenceEngine,
    RelayedAnswer,
    TokenStream,
    unwell,
)
from dragoman.engines.control import EngineControl
from dragoman.engines.dialects import DIALECTS, detect
from dragoman.engines.dialects.base import Card, CardList, Dialect, Reply, decode_answer
from dragoman.engines.dialects.errors import (
    REFUSES_KEY,
    ContextOverflowError,
    EffortRefusedError,
    SchemaRefusedError,
    error_in_body,
    error_of_reply,
    logged,
)
from dragoman.engines.remote_control import control_of
from dragoman.engines.remote_doors import RemoteDoors
from dragoman.engines.remote_stream import RemoteStream
from dragoman.engines.stops import StopFilter
from dragoman.engines.tls import tls_of
from dragoman.engines.transport import Response, Transport, engine_root, read_whole, refusal
from dragoman.engines.whole import WholeStream, as_chunk, folded
from dragoman.errors import (
    DragomanError,
    EngineFaultError,
    EngineTimeoutError,
    InvalidRequestError,
    NotSupportedError,
    PromptTooLongError,
    SettingsError,
)
from dragoman.settings import EngineEntry, Limits, Timeouts
from dragoman.wire.capabilities import EngineCapabilities
from dragoman.wire.openai import ChatCompletion, ChatRequest, ModelCard
from dragoman.wire.tokens import RelayRequest, TokenRequest

CHAT = "/v1/chat/completions"
T = TypeVar("T")


class RemoteInferenceEngine(InferenceEngine):
    """An engine behind HTTP: its address, key and dialect come from an `EngineEntry`.

    Raises `SettingsError` for an address that is none. `transport` takes the place of connections to it. What
    the server is and can do is asked when it is first needed, kept, and asked again after it could not be
    reached: it need not be up when this starts.
    """

    def __init__(
        self,
        entry: EngineEntry,
        timeouts: Timeouts | None = None,
        limits: Limits | None = None,
        *,
        transport: Transport | None = None,
    ) -> None:
        root = engine_root(entry.url)
        self.secret = _key(entry)
        self.name = entry.name or urlsplit(root).netloc
        self.named_models = entry.models
        self.max_requests, self.weight = entry.max_requests, entry.weight
        self._entry = entry
        self._timeouts = timeouts or Timeouts()
        self._transport = transport or Transport(
            root, self.secret, self._timeouts, limits or Limits(), tls_of(entry)
        )
        self._doors = RemoteDoors(self.name, self._transport, self._timeouts)
        self._given = None if entry.dialect == "auto" else DIALECTS[entry.dialect]()
        self._dialect: Dialect | None = self._given
        self._capabilities: dict[str, EngineCapabilities] = {}
        self._without_effort: set[str] = set()  # models for which the server refused one
        self._created: dict[str, int] = {}
        self._only_model: str | None = None  # "": the list says what it serves
        self._control: EngineControl | None = None
        self._questions = Questions(self._transport, self._timeouts.first_byte)

    @property
    def transport(self) -> Transport:
        """The connections to the server, for questions that no neutral request can ask."""
        return self._transport

    async def start(self) -> None:
        """Asks the server what it is; one that does not say is asked again later, and `health` tells why."""
        with suppress(DragomanError):
            await self.dialect()

    async def dialect(self) -> Dialect:
        """The dialect that the server speaks, as given or as found."""
        if self._dialect is None:
            self._dialect = await self._questions.together("", detect)
        return self._dialect

    async def capabilities(self, model: str) -> EngineCapabilities:
        """What the server can do with a model; asked once."""
        known = self._capabilities.get(model)
        if known is not None:
            return known
        dialect = await self.dialect()
        found = await self._questions.together(
            f"{dialect.name} {model}",
            lambda ask: dialect.capabilities(ask, model),
            patient=dialect.tells_by_answering,
        )
        return self._capabilities.setdefault(model, found)

    async def models(self) -> list[ModelCard]:
        """What the server lists, or of that what the entry names, in the entry's order."""
        reply = await self._list()
        listed = reply.read(CardList)
        if reply.status in REFUSES_KEY or (listed is None and not self._entry.models):
            raise _no_list(reply)
        cards = {card.id: self._card(card) for card in (listed.data if listed else ())}
        return [cards.get(name) or ModelCard(id=name) for name in self._entry.models or cards]

    async def _list(self) -> Reply:
        dialect = await self.dialect()
        if self._only_model is None:
            self._only_model = await dialect.only_model(self._transport.ask) or ""
        if not self._only_model:
            return await self._transport.ask("/v1/models")
        return Reply(200, msgspec.json.encode(CardList([Card(self._only_model)])))

    def _card(self, card: Card) -> ModelCard:
        # llama.cpp says when it was asked: the first answer holds
        created = self._created.setdefault(card.id, card.created_at)
        return ModelCard(id=card.id, created=created, context_length=card.context_length)

    async def chat_completion(self, request: ChatRequest) -> ChatCompletion:
        """The whole answer; put together from a stream where the server's own whole would differ."""
        capabilities = await self.capabilities(request.model)
        dialect = await self.dialect()
        if dialect.needs_stream(request) or dialect.matches_stops_here(request, capabilities):
            return await folded(await self.stream_chat_completion(request))
        return await self._fitting(request, lambda fitted: self._whole(fitted, dialect, capabilities))

    async def stream_chat_completion(self, request: ChatRequest) -> ChatStream:
        """The answer as a stream; an error in its first chunk is raised here."""
        capabilities = await self.capabilities(request.model)
        dialect = await self.dialect()
        return await self._fitting(request, lambda fitted: self._stream(fitted, dialect, capabilities))

    async def count_tokens(self, request: ChatRequest) -> int:
        """Tokens of the prompt, by the server's own count."""
        capabilities = await self.capabilities(request.model)
        dialect = await self.dialect()
        if request.model in self._without_effort:
            request = _without_effort(request)
        try:
            return await dialect.count(self._transport.ask_long, request, capabilities)
        except ContextOverflowError as error:
            raise _too_long(None, None, error) from error

    async def render(self, request: ChatRequest) -> list[int]:
        """The prompt's token ids, by the server's own template and tokenizer."""
        capabilities = await self.capabilities(request.model)
        return await (await self.dialect()).render(self._transport.ask_long, request, capabilities)

    async def detokenize(self, model: str, token_ids: list[int]) -> str:
        """The text of token ids, by the server's own tokenizer."""
        return await (await self.dialect()).detokenize(self._transport.ask_long, model, token_ids)

    async def stream_tokens(self, request: TokenRequest) -> TokenStream:
        """The answer to token ids; the engine's first word has come."""
        door = (await self.dialect()).door
        if door is None:
            return await super().stream_tokens(request)
        if request.sampling.max_tokens is None:
            request = await self._filling(request)
        try:
            return await self._doors.stream_tokens(request, door)
        except ContextOverflowError as error:
            maximum = error.overflow.maximum
            raise _too_long(len(request.prompt_token_ids), maximum, error) from error

    async def relay(self, request: RelayRequest) -> RelayedAnswer:
        """The server's own answer to a body of its API."""
        return await self._doors.relay(request)

    async def health(self) -> EngineHealth:
        """Whether the server answers now; never raises."""
        try:
            dialect = await self.dialect()
            reply = await self._transport.ask(dialect.health_path)
        except DragomanError as error:
            if isinstance(error, EngineUnreachableError):
                self._forget()
            return unwell(error)
        if reply.status == 503 or reply.status in REFUSES_KEY:
            return unwell(error_of_reply(reply.status, reply.body))
        if self._control is None:
            with suppress(DragomanError):
                self._control = await control_of(dialect.name, self.name, self._transport.ask_long)
        return EngineHealth("ok") if reply.status < 500 else EngineHealth("failed", f"status {reply.status}")

    @property
    def control(self) -> EngineControl:
        """The server's control plane; none as long as it was not asked how it is."""
        return self._control or super().control

    async def running(self) -> int | None:
        """Calls that run or wait there, as the server tells."""
        return await (await self.dialect()).running(self._transport.ask)

    async def aclose(self) -> None:
        """Closes all connections."""
        self._questions.cancel()
        await self._transport.aclose()

    async def _filling(self, request: TokenRequest) -> TokenRequest:
        """With the room that the prompt leaves: where nothing is said, servers have small defaults."""
        context = (await self.capabilities(request.model)).context_length
        if context is None:
            return request
        margin = (await self.dialect()).answer_margin
        room = max(1, context - len(request.prompt_token_ids) - margin)
        sampling = msgspec.structs.replace(request.sampling, max_tokens=room)
        return msgspec.structs.replace(request, sampling=sampling)

    # ---- the steps ---------------------------------------------------------------------------------------

    async def _whole(
        self, request: ChatRequest, dialect: Dialect, capabilities: EngineCapabilities
    ) -> ChatCompletion:
        response = await self._send(dialect.write(request, capabilities, stream=False))
        body = await read_whole(response, self._timeouts.between_bytes)
        return self._completion(body, dialect)

    def _completion(self, body: bytes, dialect: Dialect) -> ChatCompletion:
        completion = decode_answer(body, dialect.completion, msgspec.json.Decoder(dialect.completion))
        if bytes(completion.error) != b"null" or not completion.choices:
            raise error_in_body(body) or EngineFaultError(
                "the engine's answer is empty", log_detail="no choices", log_content=logged(body)
            )
        dialect.read_completion(completion)
        completion.engine = self.name
        return completion

    async def _stream(
        self, request: ChatRequest, dialect: Dialect, capabilities: EngineCapabilities
    ) -> ChatStream:
        here = dialect.matches_stops_here(request, capabilities)
        sent = msgspec.structs.replace(request, stop=[]) if here else request
        data = dialect.write(sent, capabilities, stream=True, counted=here)
        return await self._opened(data, dialect, request.stop if here else [])

    async def _opened(self, data: bytes, dialect: Dialect, stops: list[str]) -> ChatStream:
        """The stream of an accepted request; `stops` are the strings that end it on our side."""
        response = await self._send(data)
        if response.content_type in {"application/json", "text/html"}:
            return await self._unstreamed(response, dialect, stops)
        stream = RemoteStream(
            self.name,
            response,
            dialect,
            first_byte=self._timeouts.first_byte,
            between_bytes=self._timeouts.between_bytes,
            stops=StopFilter(stops) if stops else None,
        )
        await stream.prime()
        return stream

    async def _unstreamed(self, response: Response, dialect: Dialect, stops: list[str]) -> ChatStream:
        """The answer of a server that does not stream: an error, or a whole answer as one batch."""
        body = await read_whole(response, self._timeouts.between_bytes)
        batch = [as_chunk(self._completion(body, dialect))]
        return WholeStream(self.name, StopFilter(stops).feed(batch) if stops else batch)

    async def _send(self, data: bytes) -> Response:
        """An accepted request's answer; a refusal is raised."""
        try:
            async with asyncio.timeout(self._timeouts.first_byte):
                response = await self._transport.post(CHAT, data)
        except TimeoutError as error:
            detail = f"no answer within {self._timeouts.first_byte} s"
            raise EngineTimeoutError("the engine did not answer in time", log_detail=detail) from error
        except EngineUnreachableError:
            self._forget()
            raise
        if response.status == 200:
            return response
        raise refusal(response, await read_whole(response, self._timeouts.between_bytes))

    async def _fitting(self, request: ChatRequest, attempt: Callable[[ChatRequest], Awaitable[T]]) -> T:
        """The attempt's result; where prompt and answer pass the context, once more with what is left.

        An effort is a wish: where the server refuses it, the same goes out without, now and from then on.
        """
        if request.model in self._without_effort:
            request = _without_effort(request)
        try:
            return await attempt(request)
        except SchemaRefusedError as error:
            raise error.by_path(request) from error
        except EffortRefusedError:
            if request.reasoning.effort is None:
                raise
            answer = await self._fitting(_without_effort(request), attempt)
            self._without_effort.add(request.model)
            return answer
        except ContextOverflowError as error:
            fitted, overflow = await self._fitted(request, error), error
        try:
            return await attempt(fitted)
        except ContextOverflowError as error:
            said = error.overflow if error.overflow.prompt is not None else overflow.overflow
            raise _too_long(said.prompt, said.maximum, error) from error

    async def _fitted(self, request: ChatRequest, error: ContextOverflowError) -> ChatRequest:
        capabilities = await self.capabilities(request.model)
        dialect = await self.dialect()
        prompt, maximum = error.overflow.prompt, error.overflow.maximum or capabilities.context_length
        # engines cut an over-long prompt before they count it, so their own number may be too small
        prompt = await self._counted(request) or prompt
        rest = maximum - prompt - dialect.answer_margin if prompt is not None and maximum is not None else 0
        if rest < 1 or request.max_tokens is None or rest >= request.max_tokens:
            raise _too_long(prompt, maximum, error) from error
        return msgspec.structs.replace(request, max_tokens=rest)

    async def _counted(self, request: ChatRequest) -> int | None:
        try:
            return await self.count_tokens(request)
        except (NotSupportedError, InvalidRequestError):
            return None

    def _forget(self) -> None:
        """What comes back at this address may be another server."""
        self._dialect = self._given
        self._control = self._only_model = None
        self._capabilities.clear()
        self._without_effort.clear()
        self._questions.forget()


def _without_effort(request: ChatRequest) -> ChatRequest:
    reasoning = msgspec.structs.replace(request.reasoning, effort=None)
    return msgspec.structs.replace(request, reasoning=reasoning)


def _key(entry: EngineEntry) -> str:
    if entry.key or not entry.key_env:
        return entry.key
    try:
        return os.environ[entry.key_env]
    except KeyError:
        message = f"engines: key_env names the environment variable {entry.key_env}, which is not set"
        raise SettingsError(message) from None


def _no_list(reply: Reply) -> DragomanError:
    if reply.status != 200:
        return error_of_reply(reply.status, reply.body)
    detail = "/v1/models answers with something that is no list of models; is the address right?"
    return EngineFaultError("the engine failed to answer", log_detail=detail)


def _too_long(prompt: int | None, maximum: int | None, error: ContextOverflowError) -> DragomanError:
    said: dict[str, Any] = {"log_detail": error.log_detail, "log_content": error.log_content}
    if prompt is None or maximum is None:
        return PromptTooLongError(**said)
    # an engine may need more room than the prompt itself; the sentence must still be true
    return PromptTooLongError(prompt, min(maximum, prompt - 1), **said)
