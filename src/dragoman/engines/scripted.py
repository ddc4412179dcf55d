"""ScriptedInferenceEngine: an engine that plays scripts of chunks and faults, for tests and demos.

    engine = ScriptedInferenceEngine([answer("Hello.", thinking="A greeting."),
    refuse(OverloadedError("no"))])

An engine takes its scripts from a list (one per request, in order), from a mapping (the first key that
stands in the last user text; the key "" fits all), or from a function of the request.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import msgspec

from dragoman.engines.base import ChatStream, EngineHealth, HealthStatus, InferenceEngine
from dragoman.engines.scripts import (
    Cut,
    Delay,
    Fail,
    Hang,
    Script,
    Step,
    answer,
    call_chunk,
    finish_chunk,
    refuse,
    text_chunk,
    thinking_chunk,
    usage_chunk,
)
from dragoman.engines.stops import StopFilter
from dragoman.engines.whole import fold
from dragoman.errors import (
    DragomanError,
    EngineFaultError,
    EngineLostError,
    NotSupportedError,
    PromptTooLongError,
)
from dragoman.wire.capabilities import EngineCapabilities
from dragoman.wire.openai import (
    ChatChunk,
    ChatCompletion,
    ChatMessage,
    ChatRequest,
    ChatUsage,
    ModelCard,
    TextPart,
)

__all__ = [
    "SCRIPTED_CAPABILITIES",
    "Cut",
    "Delay",
    "Fail",
    "Hang",
    "Script",
    "ScriptedCall",
    "ScriptedInferenceEngine",
    "ScriptedStream",
    "Scripts",
    "Step",
    "answer",
    "call_chunk",
    "count_words",
    "finish_chunk",
    "last_user_text",
    "refuse",
    "text_chunk",
    "thinking_chunk",
    "usage_chunk",
]

# ---- the engine --------------------------------------------------------------------------------------------

Scripts = Sequence[Script] | Mapping[str, Script] | Callable[[ChatRequest], Script]

SCRIPTED_CAPABILITIES = EngineCapabilities(
    context_length=32_768,
    fills_context=True,
    images=True,
    reasoning=True,
    reasoning_switch=True,
    continuation=True,
    counting=True,
    matched_stop=True,
)


class ScriptedCall(msgspec.Struct, kw_only=True):
    """A request as the engine received it, and how it ended; "cancelled" means that the caller went away."""

    request: ChatRequest
    streamed: bool
    outcome: Literal["running", "finished", "cancelled", "failed"] = "running"


class ScriptedInferenceEngine(InferenceEngine):
    """Plays scripts. `calls` holds every request received, with its outcome, in order.

    capabilities: what the engine says of itself (without `counting`, a count is refused). status: its
    health; it may be changed at any time. The same request always counts the same number of tokens, which
    its usage repeats.
    """

    def __init__(
        self,
        scripts: Scripts,
        *,
        name: str = "scripted",
        models: Sequence[str] = ("scripted",),
        capabilities: EngineCapabilities = SCRIPTED_CAPABILITIES,
        status: HealthStatus = "ok",
    ) -> None:
        self.name = name
        self.calls: list[ScriptedCall] = []
        self.counted: list[ChatRequest] = []
        self.status = status
        self._pick = _picker(scripts)
        self._models = [ModelCard(id=model, context_length=capabilities.context_length) for model in models]
        self._capabilities = capabilities

    async def capabilities(self, model: str) -> EngineCapabilities:
        """What was given."""
        return self._capabilities

    async def models(self) -> list[ModelCard]:
        """What was given."""
        return list(self._models)

    async def chat_completion(self, request: ChatRequest) -> ChatCompletion:
        """The script's answer, folded from the same chunks that a stream would carry."""
        stream = await self._begin(request, streamed=False)
        chunks: list[ChatChunk] = []
        async for batch in stream:
            chunks += batch
        completion = fold(chunks)
        completion.engine = self.name
        return completion

    async def stream_chat_completion(self, request: ChatRequest) -> ChatStream:
        """The script's answer, a batch per read."""
        return await self._begin(request, streamed=True)

    async def count_tokens(self, request: ChatRequest) -> int:
        """Words and marks of the messages and tools, and 85 for an image."""
        if not self._capabilities.counting:
            raise NotSupportedError("this engine cannot count tokens")
        self.counted.append(request)
        return count_words(request)

    async def health(self) -> EngineHealth:
        """The status that was set."""
        return EngineHealth(self.status)

    async def aclose(self) -> None:
        """There is nothing to free."""

    def _check_length(self, request: ChatRequest) -> None:
        counted, most = count_words(request), self._capabilities.context_length
        if most is not None and counted >= most:
            raise PromptTooLongError(counted, most)

    async def _begin(self, request: ChatRequest, *, streamed: bool) -> ScriptedStream:
        call = ScriptedCall(request=request, streamed=streamed)
        self.calls.append(call)
        try:
            self._check_length(request)
            script = self._pick(request)
            await asyncio.sleep(script.wait)
        except asyncio.CancelledError:
            call.outcome = "cancelled"
            raise
        except DragomanError:
            call.outcome = "failed"
            raise
        if script.refusal is not None:
            call.outcome = "failed"
            raise script.refusal
        return ScriptedStream(self.name, script, call, early_usage=self._capabilities.early_usage)


class ScriptedStream(ChatStream):
    """A script that is being played."""

    def __init__(self, engine: str, script: Script, call: ScriptedCall, *, early_usage: bool = False) -> None:
        self.engine = engine
        self._call = call
        self._steps = deque(script.steps)
        self._stops = StopFilter(call.request.stop) if script.obeys and call.request.stop else None
        self._left = call.request.max_tokens if script.obeys else None
        self._usage = script.usage or ChatUsage(prompt_tokens=count_words(call.request))
        self._own_usage = script.usage is None
        self._said_usage = False
        self._closed = asyncio.Event()
        if early_usage:
            prompt = ChatUsage(prompt_tokens=self._usage.prompt_tokens)
            self._steps.appendleft([ChatChunk(usage=prompt)])

    async def __anext__(self) -> list[ChatChunk]:
        """The next read of the script."""
        try:
            return await self._next()
        except StopAsyncIteration:
            raise
        except asyncio.CancelledError:
            self._end("cancelled")
            raise
        except DragomanError:
            self._end("failed")
            raise

    async def aclose(self) -> None:
        """Ends the play; an answer that was not complete counts as cancelled."""
        self._end("cancelled")
        self._closed.set()

    async def _next(self) -> list[ChatChunk]:
        # a reader gives way to other tasks on every read, as it does with a socket
        await asyncio.sleep(0)
        while self._steps and not self._closed.is_set():
            step = self._steps.popleft()
            if isinstance(step, ChatChunk):
                return self._played([step])
            if isinstance(step, list):
                return self._played(step)
            await self._act(step)
        return self._last()

    async def _act(self, step: Delay | Hang | Fail | Cut) -> None:
        if isinstance(step, Fail):
            raise step.error
        if isinstance(step, Cut):
            raise EngineLostError(
                "the engine's answer ended early", log_detail="the script cut the connection"
            )
        seconds = step.seconds if isinstance(step, Delay) else None
        try:
            await asyncio.wait_for(self._closed.wait(), seconds)
        except TimeoutError:
            return

    def _played(self, batch: list[ChatChunk]) -> list[ChatChunk]:
        # a script may be played many times: what is handed out is a copy
        batch = [_copy(chunk) for chunk in batch]
        if self._left is not None:
            batch = self._limited(batch)
        if self._stops is not None:
            batch = self._stops.feed(batch)
            if self._stops.ended:
                self._steps.clear()
        for chunk in batch:
            self._said_usage = self._said_usage or (
                chunk.usage is not None and bool(chunk.usage.completion_tokens)
            )
            self._usage.completion_tokens += self._own_usage and _is_token(chunk)
        return batch

    def _limited(self, batch: list[ChatChunk]) -> list[ChatChunk]:
        assert self._left is not None
        kept: list[ChatChunk] = []
        for chunk in batch:
            if _is_token(chunk):
                if self._left == 0:
                    self._steps.clear()
                    return [*kept, finish_chunk("length")]
                self._left -= 1
            kept.append(chunk)
        return kept

    def _last(self) -> list[ChatChunk]:
        if self._call.outcome == "running" and not self._said_usage:
            self._said_usage = True
            return [ChatChunk(usage=self._usage)]
        self._end("finished")
        raise StopAsyncIteration

    def _end(self, outcome: Literal["finished", "cancelled", "failed"]) -> None:
        self._steps.clear()
        if self._call.outcome == "running":
            self._call.outcome = outcome


# ---- small things ------------------------------------------------------------------------------------------


def count_words(request: ChatRequest) -> int:
    """The scripted engine's token count of a prompt."""
    tools = [msgspec.json.encode(tool).decode() for tool in request.tools]
    texts = [text for message in request.messages for text in _texts(message)]
    images = sum(
        not isinstance(part, TextPart)
        for message in request.messages
        if isinstance(message.content, list)
        for part in message.content
    )
    words = sum(len(_WORD.findall(text)) for text in (*texts, *tools))
    # a turn that is continued is its own beginning of the answer
    begun = len(request.messages) + (not request.continue_final)
    return words + begun + 85 * images


_WORD = re.compile(r"\w+|[^\w\s]")


def last_user_text(request: ChatRequest) -> str:
    """The text of the request's last user turn, parts joined with nothing."""
    for message in reversed(request.messages):
        if message.role == "user":
            return "".join(_content(message))
    return ""


def _content(message: ChatMessage) -> list[str]:
    if isinstance(message.content, list):
        return [part.text for part in message.content if isinstance(part, TextPart)]
    return [message.content or ""]


def _texts(message: ChatMessage) -> list[str]:
    calls = [f"{call.function.name} {call.function.arguments}" for call in message.tool_calls or ()]
    return [*_content(message), message.reasoning or "", *calls]


def _picker(scripts: Scripts) -> Callable[[ChatRequest], Script]:
    if callable(scripts):
        return scripts
    if isinstance(scripts, Mapping):
        return lambda request: _by_key(scripts, last_user_text(request))
    queue = deque(scripts)
    return lambda _request: _next_of(queue)


def _by_key(scripts: Mapping[str, Script], text: str) -> Script:
    for key, script in scripts.items():
        if key in text:
            return script
    raise EngineFaultError(
        "the engine has no script for this request",
        log_detail="no key stands in the last user text",
        log_content=text[:200],
    )


def _next_of(queue: deque[Script]) -> Script:
    if not queue:
        raise EngineFaultError(
            "the engine has no script for this request", log_detail="all scripts were played"
        )
    return queue.popleft()


def _copy(chunk: ChatChunk) -> ChatChunk:
    return msgspec.convert(msgspec.to_builtins(chunk), ChatChunk)


def _is_token(chunk: ChatChunk) -> bool:
    return any(
        choice.delta.content or choice.delta.reasoning or choice.delta.tool_calls for choice in chunk.choices
    )
