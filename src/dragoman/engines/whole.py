"""Chunks of a stream folded into the whole answer, and the way back."""

from __future__ import annotations

from collections.abc import Iterable

from dragoman.engines.base import ChatStream
from dragoman.wire.openai import (
    ChatAnswer,
    ChatChoice,
    ChatChunk,
    ChatCompletion,
    ChatDelta,
    ChunkChoice,
    FoldedCompletion,
    FunctionDelta,
    ToolCallDelta,
)


def fold(chunks: Iterable[ChatChunk]) -> FoldedCompletion:
    """The whole answer of a stream: texts joined, calls put together, the last usage; and the chunks."""
    completion = FoldedCompletion(chunks=list(chunks))
    choice = ChatChoice(message=ChatAnswer(role="assistant"))
    texts: dict[str, list[str]] = {"content": [], "reasoning": [], "refusal": []}
    calls = _Calls()
    for chunk in completion.chunks:
        completion.id = completion.id or chunk.id
        completion.model = completion.model or chunk.model
        completion.usage = chunk.usage or completion.usage
        for piece in chunk.choices:
            completion.choices = [choice]
            _end(choice, piece)
            for field, pieces in texts.items():
                pieces.append(getattr(piece.delta, field) or "")
            for part in piece.delta.tool_calls or ():
                calls.add(part)
    for field, pieces in texts.items():
        setattr(choice.message, field, "".join(pieces) or None)
    choice.message.tool_calls = calls.whole() or None
    return completion


def _end(choice: ChatChoice, piece: ChunkChoice) -> None:
    if piece.finish_reason is not None:
        choice.finish_reason = piece.finish_reason
        choice.matched_stop = piece.matched_stop
        choice.stop_reason = piece.stop_reason


class _Calls:
    """The calls of a stream, in order of appearance."""

    def __init__(self) -> None:
        self._found: list[tuple[ToolCallDelta, list[str]]] = []
        self._by_index: dict[int, int] = {}
        self._by_id: dict[str, int] = {}

    def add(self, part: ToolCallDelta) -> None:
        """A piece of a call; without an index it goes on with the newest, unless it names another."""
        name = (part.function.name or "") if part.function is not None else ""
        place = self._place(part, name)
        if place == len(self._found):
            self._found.append((ToolCallDelta(index=place, function=FunctionDelta()), []))
        call, arguments = self._found[place]
        call.id = call.id or part.id
        if part.id:
            self._by_id.setdefault(part.id, place)
        assert call.function is not None
        said = call.function.name or ""
        # a piece equal to the name so far repeats it
        call.function.name = (said if name == said else said + name) or None
        if part.function is not None:
            arguments.append(part.function.arguments or "")

    def _place(self, part: ToolCallDelta, name: str) -> int:
        new = len(self._found)
        if part.index is None:
            if part.id:
                return self._by_id.get(part.id, new)
            return new if name or not new else new - 1
        place = self._by_index.get(part.index, new)
        if place < new and name and part.id:
            known = self._found[place][0].id
            # servers that number every call 0
            place = new if known and known != part.id else place
        self._by_index[part.index] = place
        return place

    def whole(self) -> list[ToolCallDelta]:
        """The calls, put together."""
        for call, arguments in self._found:
            assert call.function is not None
            call.function.arguments = "".join(arguments)
        return [call for call, _ in self._found]


def as_chunk(completion: ChatCompletion) -> ChatChunk:
    """A whole answer as the one chunk of a stream."""
    choice = completion.choices[0]
    said = choice.message
    delta = ChatDelta(
        content=said.content,
        reasoning=said.reasoning,
        tool_calls=said.tool_calls,
        refusal=said.refusal,
        role=said.role,
    )
    piece = ChunkChoice(delta=delta, finish_reason=choice.finish_reason, matched_stop=choice.matched_stop)
    return ChatChunk(choices=[piece], usage=completion.usage, id=completion.id, model=completion.model)


async def folded(stream: ChatStream) -> FoldedCompletion:
    """A whole answer out of its stream, which is read to its end and closed."""
    chunks: list[ChatChunk] = []
    try:
        async for batch in stream:
            chunks += batch
    finally:
        await stream.aclose()
    completion = fold(chunks)
    completion.engine = stream.engine
    return completion


class WholeStream(ChatStream):
    """A whole answer in the place of a stream: one batch."""

    def __init__(self, engine: str, batch: list[ChatChunk]) -> None:
        self.engine = engine
        self._batch: list[ChatChunk] | None = batch

    async def __anext__(self) -> list[ChatChunk]:
        """The one batch."""
        if self._batch is None:
            raise StopAsyncIteration
        batch, self._batch = self._batch, None
        return batch

    async def aclose(self) -> None:
        """The engine is done already."""
        self._batch = None
