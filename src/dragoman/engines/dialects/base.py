"""What a dialect is: how one kind of server is asked, and how its answers become neutral."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import msgspec

from dragoman.engines.dialects.doors import TokenDoor
from dragoman.engines.dialects.errors import error_of_reply, logged
from dragoman.engines.dialects.probes import Render, as_text
from dragoman.engines.dialects.repair import repaired
from dragoman.errors import DragomanError, EngineFaultError, NotSupportedError
from dragoman.wire.capabilities import EngineCapabilities
from dragoman.wire.openai import (
    ChatAnswer,
    ChatChoice,
    ChatChunk,
    ChatCompletion,
    ChatDelta,
    ChatMessage,
    ChatRequest,
    ChunkChoice,
    FunctionCall,
)
from dragoman.wire.openai_write import chat_body

T = TypeVar("T")


class Reply(msgspec.Struct, frozen=True):
    """An engine's answer to a question: HTTP status and body."""

    status: int
    body: bytes

    def read(self, kind: type[T]) -> T | None:
        """The body as a value, None where the status is not 200 or the body has another shape."""
        if self.status != 200:
            return None
        try:
            return msgspec.json.decode(self.body, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None


Ask = Callable[[str, object], Awaitable[Reply]]
"""Asks the engine a question: the path, and the body to post as JSON (None: GET). Raises `DragomanError`s."""


NO_ERROR = msgspec.Raw(b"null")


class WireChunk(ChatChunk, gc=False):
    """A chunk as it travels: it may hold an error instead."""

    error: msgspec.Raw = NO_ERROR


class WireCompletion(ChatCompletion):
    """A whole answer as it travels: it may hold an error instead."""

    error: msgspec.Raw = NO_ERROR


# The year 2200, in seconds since 1970.
_LATEST = 7_258_118_400


class CardMeta(msgspec.Struct):
    """What llama.cpp adds to a model in its list."""

    n_ctx: int | None = None


class Card(msgspec.Struct):
    """A model in a server's list, with what some servers add."""

    id: str
    created: object = None
    owned_by: str | None = None
    max_model_len: int | None = None
    meta: CardMeta | None = None

    @property
    def created_at(self) -> int:
        """Seconds since 1970; 0 where the server says nothing that is a time of our days."""
        seconds = self.created
        return int(seconds) if isinstance(seconds, int | float) and 0 <= seconds < _LATEST else 0

    @property
    def context_length(self) -> int | None:
        """Tokens of one request, where the server tells."""
        if self.max_model_len is None and self.meta is not None:
            return self.meta.n_ctx
        return self.max_model_len


class CardList(msgspec.Struct):
    """A server's list of models."""

    data: list[Card]


class Dialect:
    """One kind of server. Methods that ask get the means to do so; everything else is pure.

    omits_done: the server is known to end a stream without `[DONE]`. health_path: what answers 200 when it is
    well. answer_margin: tokens of the context that the server keeps free. most_stops: stop strings that it
    takes. chunk, completion: wire types. door: how it takes token ids, None where it does not.
    tells_by_answering: its abilities are found on answers, which may wait for those that it gives to others.
    """

    name = "generic"
    omits_done = False
    health_path = "/health"
    answer_margin = 0
    most_stops: int | None = None
    chunk: type[WireChunk] = WireChunk
    completion: type[WireCompletion] = WireCompletion
    door: TokenDoor | None = None
    tells_by_answering = False

    async def recognise(self, ask: Ask) -> bool:
        """Whether the server that answers is of this kind."""
        raise NotImplementedError

    async def capabilities(self, ask: Ask, model: str) -> EngineCapabilities:
        """What the server can do with a model, found by asking."""
        raise NotImplementedError

    async def only_model(self, ask: Ask) -> str | None:
        """The one model that it takes, whatever it lists; None where its list is what it serves."""
        return None

    async def count(self, ask: Ask, request: ChatRequest, capabilities: EngineCapabilities) -> int:
        """Tokens of the prompt; exactly what the same request's usage says."""
        raise NotSupportedError(f"the engine ({self.name}) cannot count tokens")

    async def render(self, ask: Ask, request: ChatRequest, capabilities: EngineCapabilities) -> list[int]:
        """The prompt's token ids."""
        raise NotSupportedError(f"the engine ({self.name}) does not render prompts")

    async def detokenize(self, ask: Ask, model: str, token_ids: list[int]) -> str:
        """The text of token ids, markers included."""
        raise NotSupportedError(f"the engine ({self.name}) does not say what token ids mean")

    async def running(self, ask: Ask) -> int | None:
        """Calls that run or wait on the server, of all its clients; None where it does not tell."""
        return None

    def renderer(self, ask: Ask, model: str) -> Render | None:
        """What renders a request's members to the prompt's text; None where no such server does."""
        return None

    def prepare(self, body: dict[str, Any], request: ChatRequest, capabilities: EngineCapabilities) -> None:
        """Turns a plain body of Chat Completions into the server's own, in place."""

    def body(self, request: ChatRequest, capabilities: EngineCapabilities) -> dict[str, Any]:
        """The members of a body, but for streaming."""
        body = chat_body(request, reasoning_key="reasoning_content")
        body["messages"] = [_complete(message) for message in body["messages"]]
        if not capabilities.argument_objects:
            for message in body["messages"]:
                _keep_arguments(message)
        if "tools" not in body:
            body.pop("tool_choice", None)
            body.pop("parallel_tool_calls", None)
        self.prepare(body, request, capabilities)
        return body

    def write(
        self,
        request: ChatRequest,
        capabilities: EngineCapabilities,
        *,
        stream: bool,
        counted: bool = False,
        more: Mapping[str, Any] | None = None,
    ) -> bytes:
        """The body for the wire.

        counted: usage in every chunk, as the stream may be cut on our side. more: members that only this kind
        of server knows.
        """
        body = self.body(request, capabilities)
        body["stream"] = stream
        if stream:
            body["stream_options"] = {"include_usage": True}
            self.prepare_stream(body, counted=counted)
        body.update(more or {})
        return msgspec.json.encode(body)

    def prepare_stream(self, body: dict[str, Any], *, counted: bool) -> None:
        """What the server wants in a streamed request beyond the plain form, in place."""

    def needs_stream(self, request: ChatRequest) -> bool:
        """Whether a whole answer is put together from a stream, because the server's own whole differs."""
        return False

    def read_chunk(self, chunk: WireChunk) -> None:
        """Moves what the server spells otherwise into the neutral fields, in place."""
        for choice in chunk.choices:
            self.read_choice(choice, choice.delta)

    def read_completion(self, completion: WireCompletion) -> None:
        """The same for a whole answer."""
        for choice in completion.choices:
            self.read_choice(choice, choice.message)

    def read_choice(self, choice: ChunkChoice | ChatChoice, delta: ChatDelta | ChatAnswer) -> None:
        """The same for one choice."""
        if choice.finish_reason == "":
            choice.finish_reason = None
        if delta.reasoning_content is not None:
            # an empty name hides nothing that stands under the other one
            if not delta.reasoning:
                delta.reasoning = delta.reasoning_content
            delta.reasoning_content = None

    def refused(self, reply: Reply) -> DragomanError:
        """The error of a question that was not answered."""
        return error_of_reply(reply.status if reply.status != 200 else 500, reply.body)

    def thinks(self, request: ChatRequest, capabilities: EngineCapabilities) -> bool:
        """Whether thinking may come before the answer."""
        off = capabilities.reasoning_switch and request.reasoning.enabled is False
        return capabilities.reasoning and not off

    def matches_stops_here(self, request: ChatRequest, capabilities: EngineCapabilities) -> bool:
        """Whether stop strings are matched on our side.

        They are where the server does not say which one matched, where it would also search thinking, and
        where it takes fewer.
        """
        if not request.stop or not capabilities.matched_stop:
            return bool(request.stop)
        too_many = self.most_stops is not None and len(request.stop) > self.most_stops
        return too_many or self.thinks(request, capabilities)


def decode_answer(data: bytes, kind: type[T], decoder: msgspec.json.Decoder[T]) -> T:
    """A wire value; known departures (nulls, arguments as objects) are mended, else `EngineFaultError`."""
    try:
        return decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as first:
        try:
            return msgspec.convert(repaired(msgspec.json.decode(data)), kind)
        except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError, RecursionError):
            raise EngineFaultError(
                "the engine's answer could not be read",
                log_detail=f"unreadable answer: {first}",
                log_content=logged(data),
            ) from first


def _complete(message: ChatMessage | dict[str, Any]) -> ChatMessage | dict[str, Any]:
    """A message with its thinking under both names that servers read, and with some content or calls."""
    if isinstance(message, dict):
        if message["content"] is None and "tool_calls" not in message:
            message["content"] = ""
        if "reasoning_content" in message:
            message["reasoning"] = message["reasoning_content"]
    return message


def _keep_arguments(message: ChatMessage | dict[str, Any]) -> None:
    """The arguments of its calls, so that the template gets their text, though the server reads JSON."""
    if isinstance(message, dict) and "tool_calls" in message:
        message["tool_calls"] = [
            msgspec.structs.replace(
                call, function=FunctionCall(call.function.name, as_text(call.function.arguments))
            )
            for call in message["tool_calls"]
        ]
