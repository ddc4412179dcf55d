"""Chunks of a stream folded into the whole answer, and the way back."""

from __future__ import annotations

from collections.abc import Iterable

from dragoman.wire.openai import (
    ChatAnswer,
    ChatChoice,
    ChatChunk,
    ChatCompletion,
    ChatDelta,
    ChunkChoice,
    FunctionDelta,
    ToolCallDelta,
)


def fold(chunks: Iterable[ChatChunk]) -> ChatCompletion:
    """The whole answer of a stream: texts joined, calls put together by index, the last usage."""
    completion = ChatCompletion()
    choice = ChatChoice(message=ChatAnswer(role="assistant"))
    calls: dict[int, ToolCallDelta] = {}
    for chunk in chunks:
        completion.id = completion.id or chunk.id
        completion.model = completion.model or chunk.model
        completion.usage = chunk.usage or completion.usage
        for piece in chunk.choices:
            _add(choice, calls, piece)
            completion.choices = [choice]
    if calls:
        choice.message.tool_calls = list(calls.values())
    return completion


def _add(choice: ChatChoice, calls: dict[int, ToolCallDelta], piece: ChunkChoice) -> None:
    message, delta = choice.message, piece.delta
    message.content = _joined(message.content, delta.content)
    message.reasoning = _joined(message.reasoning, delta.reasoning)
    message.refusal = _joined(message.refusal, delta.refusal)
    for part in delta.tool_calls or ():
        _add_call(calls, part)
    if piece.finish_reason is not None:
        choice.finish_reason = piece.finish_reason
        choice.matched_stop = piece.matched_stop
        choice.stop_reason = piece.stop_reason


def _add_call(calls: dict[int, ToolCallDelta], part: ToolCallDelta) -> None:
    # a piece without an index goes on with the newest call, unless it names another
    newest = max(calls, default=-1)
    starts = part.function is not None and part.function.name is not None
    index = part.index if part.index is not None else newest + (starts or newest < 0)
    call = calls.get(index)
    if call is None:
        call = calls[index] = ToolCallDelta(index=index, function=FunctionDelta())
    function = call.function
    assert function is not None
    call.id = call.id or part.id
    if part.function is not None:
        function.name = function.name or part.function.name
        function.arguments = _joined(function.arguments, part.function.arguments)


def _joined(text: str | None, piece: str | None) -> str | None:
    return piece if text is None else text + (piece or "")


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
