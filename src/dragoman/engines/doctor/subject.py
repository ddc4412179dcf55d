"""The engine under examination: how it is asked, and what the questions before have shown."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import msgspec

from dragoman.engines.dialects.base import Dialect
from dragoman.engines.dialects.generic import GenericDialect
from dragoman.engines.dialects.repair import repaired
from dragoman.engines.doctor.report import Outcome
from dragoman.engines.doctor.said import Said, decoded, mapping
from dragoman.engines.remote import CHAT, RemoteInferenceEngine
from dragoman.engines.transport import Response, Watch, read_whole
from dragoman.engines.whole import fold
from dragoman.errors import EngineFaultError, EngineTimeoutError
from dragoman.wire.capabilities import EngineCapabilities
from dragoman.wire.openai import ChatChunk, ChatCompletion, ChatMessage, ChatRequest, ChatTool, Reasoning
from dragoman.wire.sse import SSEDecoder

PLAIN = GenericDialect()
# Tokens for a model that thinks before every answer, beside those of the answer.
THINKING_ROOM = 1024


class Shown(msgspec.Struct, frozen=True):
    """What one probe saw; `result` is the outcome in the probe's own words, where those say more.

    `silent`: the engine did not answer at all.
    """

    outcome: Outcome
    evidence: str
    result: str = ""
    silent: bool = False


class Prompt(msgspec.Struct, frozen=True):
    """What became of messages: the prompt's text where the server renders it, else its length in tokens."""

    text: str | None = None
    tokens: int | None = None
    refusal: str = ""


class Subject:
    """One engine and one of its models. `seconds` bounds every question.

    `shown` holds the outcomes so far. `quiet` are the members that turn thinking off, once that is known;
    `thinks` tells whether thinking was seen, `takes_tools` whether a request with tools was taken.
    `counted` is the answer that later questions build on, `stream` the streamed one.
    """

    def __init__(
        self,
        engine: RemoteInferenceEngine,
        dialect: Dialect,
        model: str,
        capabilities: EngineCapabilities,
        seconds: float,
    ) -> None:
        self.engine = engine
        self.dialect = dialect
        self.model = model
        self.capabilities = capabilities
        self.seconds = seconds
        self.shown: dict[str, Shown] = {}
        self.quiet: dict[str, Any] = {}
        self.thinks = False
        self.takes_tools = False
        self.counted: Said | None = None
        self.stream: Said | None = None
        self._render = dialect.renderer(engine.transport.ask, model)
        self._renders: bool | None = None

    def saw(self, name: str, *outcomes: Outcome) -> bool:
        """Whether an earlier probe ended so ("yes" where nothing else is named)."""
        shown = self.shown.get(name)
        return shown is not None and shown.outcome in (outcomes or ("yes",))

    def request(self, *messages: ChatMessage, answer: int = 96, **members: Any) -> ChatRequest:
        """A neutral request; `answer` is the room for it, in tokens, without thinking."""
        room = answer if self.quiet or not self.thinks else answer + THINKING_ROOM
        if self.quiet:
            members.setdefault("reasoning", Reasoning(enabled=False))
        return ChatRequest(
            model=self.model, messages=list(messages), max_tokens=room, temperature=0.0, **members
        )

    # ---- asking --------------------------------------------------------------------------------------------

    async def plain(self, request: ChatRequest, **more: Any) -> Said:
        """The answer to what any client of Chat Completions would send."""
        body = PLAIN.body(request, self.capabilities) | self.quiet | more
        return await self.post({**body, "stream": False})

    async def own(self, request: ChatRequest, **more: Any) -> Said:
        """The answer to what this engine's dialect writes."""
        return await self.post({**self.dialect.body(request, self.capabilities), **more, "stream": False})

    async def streamed(self, body: dict[str, Any]) -> Said:
        """The answer to a streamed request, put together from its chunks."""
        return await self.post({"stream_options": {"include_usage": True}, **body, "stream": True})

    async def plain_stream(self, request: ChatRequest) -> Said:
        """The same for what any client would send."""
        return await self.streamed(PLAIN.body(request, self.capabilities) | self.quiet)

    async def own_stream(self, request: ChatRequest) -> Said:
        """The same for what the dialect writes."""
        return await self.streamed(decoded(self.dialect.write(request, self.capabilities, stream=True)))

    async def through(self, request: ChatRequest) -> ChatCompletion:
        """The answer as Dragoman gets it for its clients: written, sent and read by its own engine."""
        async with _within(self.seconds):
            return await self.engine.chat_completion(request)

    async def through_stream(self, request: ChatRequest) -> list[ChatChunk]:
        """The same as a stream's chunks."""
        async with _within(self.seconds):
            stream = await self.engine.stream_chat_completion(request)
            try:
                return [chunk async for batch in stream for chunk in batch]
            finally:
                await stream.aclose()

    async def count(self, request: ChatRequest) -> int:
        """The engine's count of a prompt."""
        async with _within(self.seconds):
            return await self.engine.count_tokens(request)

    async def prompt(
        self, *messages: ChatMessage, tools: list[ChatTool] | None = None, **more: Any
    ) -> Prompt:
        """What the engine makes of messages."""
        request = self.request(*messages, answer=1, tools=tools or [])
        body = PLAIN.body(request, self.capabilities)
        if await self.renders():
            assert self._render is not None
            members: dict[str, Any] = {name: body[name] for name in ("messages", "tools") if name in body}
            text = await self._render({**members, **more})
            return Prompt(text=text, refusal="the template refuses it" if text is None else "")
        said = await self.post({**body, **self.quiet, **more, "max_tokens": 1, "stream": False})
        if said.error is not None:
            return Prompt(refusal=said.words)
        return Prompt(tokens=said.prompt_tokens)

    async def renders(self) -> bool:
        """Whether the server shows the prompts that its template makes."""
        if self._renders is None:
            question = {"messages": [{"role": "user", "content": "Hi"}]}
            self._renders = self._render is not None and await self._render(question) is not None
        return self._renders

    async def post(self, body: dict[str, Any]) -> Said:
        """The answer to a body, whole or streamed as it came; an answer that never ends is an error."""
        async with _within(self.seconds):
            response = await self.engine.transport.post(CHAT, msgspec.json.encode(body))
            if response.content_type == "text/event-stream" and response.status == 200:
                return await self._read_stream(response)
            data = await read_whole(response, self.seconds)
        return Said(
            status=response.status, body=data, value=decoded(data), content_type=response.content_type
        )

    async def _read_stream(self, response: Response) -> Said:
        chunks: list[dict[str, Any]] = []
        last, has_done = b"", False
        async with aclosing(_payloads(response, self.seconds)) as payloads:
            async for data in payloads:
                has_done = data.strip() == b"[DONE]"
                if has_done:
                    break
                last = data
                chunks.append(decoded(data))
        return Said(
            status=200,
            body=last,
            value={} if "error" in decoded(last) else _folded(chunks),
            chunks=tuple(chunks),
            content_type=response.content_type,
            has_done=has_done,
        )


@asynccontextmanager
async def _within(seconds: float) -> AsyncIterator[None]:
    """A time limit whose end is our own error."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as late:
        raise EngineTimeoutError(f"no answer within {seconds:g} s") from late


async def _payloads(response: Response, silence: float) -> AsyncGenerator[bytes, None]:
    """The data of a stream's events, until it ends or says that it is done."""
    watch, events = Watch(response, silence), SSEDecoder()
    try:
        while piece := await watch.read():
            for payload in events.feed_data(piece):
                yield payload
        for event in events.close():
            yield event.data
    finally:
        watch.stop()
        response.close()


def _folded(chunks: list[dict[str, Any]]) -> dict[str, Any]:
    """A whole answer's members out of a stream's chunks."""
    try:
        whole = fold(msgspec.convert(repaired(chunks), list[ChatChunk]))
    except msgspec.ValidationError as error:
        raise EngineFaultError(f"chunks of another shape: {error}") from error
    return mapping(msgspec.to_builtins(whole))
