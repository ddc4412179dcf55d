"""An aided answer while it streams: text as it comes, and a call in the place of text that began like one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from enum import Enum, auto

from dragoman.engines.base import ChatStream
from dragoman.engines.llamacpp.calls import CallReader
from dragoman.engines.llamacpp.recogniser import CallRecogniser, Verdict
from dragoman.engines.llamacpp.repeats import RepeatGuard
from dragoman.engines.stops import StopFilter
from dragoman.wire.openai import ChatChunk, ChatDelta, ChatUsage, ChunkChoice


class Asker(ABC):
    """Asks the engine again for an answer to the same prompt; `may_call`: whether that may be a call."""

    may_call: bool = True

    @abstractmethod
    async def call(self, tool: str | None, spent: int, running: ChatStream) -> ChatStream:
        """Ends the running answer and gives one that is a call of that tool (None: of any).

        `spent` tokens of text were shown before it.
        """

    @abstractmethod
    async def words(self, running: ChatStream) -> ChatStream:
        """Ends the running answer and gives one that does not begin like a call."""


class CallStream(ChatStream):
    """An answer whose text is a call; `guard` says when it only repeats an earlier one."""

    def __init__(self, stream: ChatStream, guard: RepeatGuard | None = None) -> None:
        self.engine = stream.engine
        self.guard = guard or RepeatGuard([])
        self._stream = stream
        self._reader = CallReader()

    async def __anext__(self) -> list[ChatChunk]:
        """The next batch, with the call's pieces in the place of its text."""
        batch = await anext(self._stream)
        for chunk in batch:
            for choice in chunk.choices:
                self._turn(choice)
        return batch

    async def aclose(self) -> None:
        """Stops the engine's work."""
        await self._stream.aclose()

    def _turn(self, choice: ChunkChoice) -> None:
        delta, reader = choice.delta, self._reader
        calls = reader.feed(delta.content) if delta.content else []
        if calls:
            calls = self.guard.feed(calls, complete=reader.complete)
        if choice.finish_reason is not None and not self.guard.is_repeat:
            calls += self.guard.flush()
        delta.content, delta.tool_calls = None, calls or None
        if choice.finish_reason == "stop" and reader.complete:
            choice.finish_reason = "tool_calls"


class _Stage(Enum):
    """Which of the answers to the prompt is shown."""

    LISTENING = auto()
    CALL = auto()
    WORDS = auto()


class AidedStream(ChatStream):
    """An answer that may turn out to be a call; then the call is asked for in its place.

    A call that only repeats the one whose result has just come is not shown, nor is one without leave to
    call: words are asked for instead, unless there were words before it; then the answer ends with these.
    What is billed is the first answer's prompt, and the tokens of the answer that is shown.
    """

    def __init__(
        self,
        first: ChatStream,
        recogniser: CallRecogniser,
        guard: RepeatGuard,
        stops: StopFilter,
        asker: Asker,
    ) -> None:
        self.engine = first.engine
        self._stream = first
        self._recogniser = recogniser
        self._guard = guard
        self._stops = stops
        self._asker = asker
        self._prompt: ChatUsage | None = None
        # tokens of the first answer up to the last that was shown, and up to the last thought
        self._shown = 0
        self._thought = 0
        self._has_text = False
        self._unseen = 0  # tokens of thought in a later answer, which are not shown
        self._stage = _Stage.LISTENING
        self._is_closed = False

    async def __anext__(self) -> list[ChatChunk]:
        """The next batch; it may be empty while what may be a call is held back."""
        if self._is_closed or self._stops.ended:
            await self.aclose()
            raise StopAsyncIteration
        try:
            batch = await anext(self._stream)
        except StopAsyncIteration:
            batch = self._rest()
            if not batch:
                raise
            return batch
        if self._stage is not _Stage.LISTENING:
            return await self._shown_again(batch)
        heard = self._stops.feed(self._heard(batch))
        if self._recogniser.verdict is Verdict.CALL and not self._stops.ended:
            heard += [*self._stops.close(), *await self._called()]
        return heard

    async def aclose(self) -> None:
        """Stops the engine's work, in whichever of the answers it is."""
        self._is_closed = True
        await self._stream.aclose()

    async def _called(self) -> list[ChatChunk]:
        """Turns from what is known to be a call to the call itself, or without leave to words."""
        if not self._asker.may_call:
            return await self._instead()
        spent = self._shown - self._thought
        again = await self._asker.call(self._recogniser.tool, spent, self._stream)
        await self._turn_to(CallStream(again, self._guard), _Stage.CALL)
        return []

    async def _instead(self) -> list[ChatChunk]:
        """Turns from a call to words; where some were shown, the answer ends with these."""
        if not self._has_text:
            await self._turn_to(await self._asker.words(self._stream), _Stage.WORDS)
            return []
        await self.aclose()
        usage = _billed(self._prompt, self._shown) if self._prompt is not None else None
        return [ChatChunk(choices=[ChunkChoice(delta=ChatDelta(), finish_reason="stop")], usage=usage)]

    async def _turn_to(self, stream: ChatStream, stage: _Stage) -> None:
        self._stream, self._stage = stream, stage
        if self._is_closed:
            await stream.aclose()

    async def _shown_again(self, batch: list[ChatChunk]) -> list[ChatChunk]:
        """What is shown of a batch of a later answer."""
        for chunk in batch:
            sampled = chunk.usage.completion_tokens if chunk.usage is not None else 0
            for choice in chunk.choices:
                if choice.delta.reasoning:
                    # what was thought before was shown already
                    choice.delta.reasoning = None
                    self._unseen = sampled
            if chunk.usage is not None and self._prompt is not None:
                chunk.usage = _billed(self._prompt, self._shown + sampled - self._unseen)
        if self._stage is _Stage.WORDS:
            return self._stops.feed(batch)
        return await self._instead() if self._guard.is_repeat else batch

    def _heard(self, batch: list[ChatChunk]) -> list[ChatChunk]:
        """What may be shown of the first answer's batch; nothing from where it is known to be a call."""
        heard: list[ChatChunk] = []
        for chunk in batch:
            self._prompt = chunk.usage or self._prompt
            for choice in chunk.choices:
                self._listen(choice)
                self._count(choice.delta, chunk.usage)
            if self._recogniser.verdict is not Verdict.CALL:
                heard.append(chunk)
                continue
            heard += [ChatChunk(choices=chunk.choices)] if _says_something(chunk) else []
            break
        return heard

    def _listen(self, choice: ChunkChoice) -> None:
        delta = choice.delta
        shown = self._recogniser.feed(delta.content) if delta.content else ""
        if choice.finish_reason is not None and self._recogniser.verdict is not Verdict.CALL:
            shown += self._recogniser.flush()
        delta.content = shown or None
        self._has_text = self._has_text or bool(shown)

    def _count(self, delta: ChatDelta, usage: ChatUsage | None) -> None:
        if usage is not None and delta.reasoning:
            self._thought = self._shown = usage.completion_tokens
        if usage is not None and delta.content:
            self._shown = usage.completion_tokens

    def _rest(self) -> list[ChatChunk]:
        """What is still held of an answer that ended without a finish reason."""
        held = self._recogniser.flush() if self._stage is _Stage.LISTENING else ""
        batch = [ChatChunk(choices=[ChunkChoice(delta=ChatDelta(content=held))])] if held else []
        return [*self._stops.feed(batch), *self._stops.close()]


def _says_something(chunk: ChatChunk) -> bool:
    return any(choice.delta.content or choice.delta.reasoning for choice in chunk.choices)


def _billed(prompt: ChatUsage, delivered: int) -> ChatUsage:
    """The counts of a later answer: the first one's prompt, and what is delivered."""
    return ChatUsage(prompt.prompt_tokens, delivered, prompt.prompt_tokens_details)
