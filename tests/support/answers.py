"""Engines' answers for tests, and what a client reads of ours: the SDK's accumulator is the oracle."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import Message

from dragoman.errors import EngineFaultError
from dragoman.translate.grammar import EventKind, StreamGrammar
from dragoman.translate.response import to_message
from dragoman.translate.stream import MessageStream, StreamOptions
from dragoman.wire.anthropic.events import decode_event
from dragoman.wire.openai import (
    ChatAnswer,
    ChatChoice,
    ChatChunk,
    ChatCompletion,
    ChatDelta,
    ChatUsage,
    ChunkChoice,
    FunctionDelta,
    ToolCallDelta,
)
from dragoman.wire.sse import SSEDecoder

MESSAGE_ID = "msg_01"
INPUT_TOKENS = 7
_BLOCK_STARTS = {
    "text": EventKind.TEXT_START,
    "thinking": EventKind.THINKING_START,
    "tool_use": EventKind.TOOL_USE_START,
}


def seal(text: str, visible: bool) -> str:
    """A readable stand-in for a signature."""
    return f"{'digest' if visible else 'text'} of {text}"


def options(**changes: Any) -> StreamOptions:
    """Options of an answer, changed where a test needs it."""
    given: dict[str, Any] = {
        "message_id": MESSAGE_ID,
        "model": "claude-test",
        "max_tokens": 100,
        "request_id": "req_01",
        "input_estimate": INPUT_TOKENS,
    }
    return StreamOptions(**(given | changes))


# ---- what an engine says ----------------------------------------------------------------------------------


def said(text: str | None = None, **fields: Any) -> ChatChunk:
    """A chunk with text, or with other fields of a delta."""
    return ChatChunk(choices=[ChunkChoice(delta=ChatDelta(content=text, **fields))])


def called(*pieces: ToolCallDelta, **fields: Any) -> ChatChunk:
    """A chunk with pieces of calls."""
    return said(tool_calls=list(pieces), **fields)


def piece(
    arguments: str | None = None,
    name: str | None = None,
    call_id: str | None = None,
    index: int | None = 0,
) -> ToolCallDelta:
    """A piece of a call."""
    return ToolCallDelta(index=index, id=call_id, function=FunctionDelta(name=name, arguments=arguments))


def finished(reason: str = "stop", matched: str | int | None = None, **fields: Any) -> ChatChunk:
    """The chunk with the finish reason."""
    return ChatChunk(
        choices=[ChunkChoice(delta=ChatDelta(**fields), finish_reason=reason, matched_stop=matched)]
    )


def counted(prompt: int = 10, completion: int = 5, **details: Any) -> ChatChunk:
    """The chunk with the usage and no choice."""
    return ChatChunk(usage=ChatUsage(prompt_tokens=prompt, completion_tokens=completion, **details))


def completion(
    content: str | None = None,
    *,
    reason: str | None = "stop",
    matched: str | int | None = None,
    usage: ChatUsage | None = None,
    **fields: Any,
) -> ChatCompletion:
    """A whole answer."""
    choice = ChatChoice(
        message=ChatAnswer(content=content, **fields), finish_reason=reason, matched_stop=matched
    )
    return ChatCompletion(choices=[choice], usage=usage)


# ---- what a client reads ----------------------------------------------------------------------------------


def streamed(chunks: Iterable[ChatChunk], *, batch: int = 1, **changes: Any) -> bytes:
    """All bytes of a stream; `batch` chunks arrive in each read."""
    stream = MessageStream(options(**changes), seal)
    given = list(chunks)
    out = [stream.start(INPUT_TOKENS)]
    out += [stream.feed(given[at : at + batch]) for at in range(0, len(given), batch)]
    out.append(stream.end())
    return b"".join(out)


def events(raw: bytes) -> list[dict[str, Any]]:
    """The events of a stream as a client decodes them; each name equals its data's type."""
    found = SSEDecoder().feed(raw)
    for event in found:
        decode_event(event)
    return [msgspec.json.decode(event.data) for event in found]


def kinds(raw: bytes) -> list[EventKind]:
    """The events of a stream, walked through the grammar: raises where one may not come."""
    grammar = StreamGrammar()
    walked = []
    for event in events(raw):
        kind = _kind(event)
        grammar.advance(kind, event.get("index"))
        walked.append(kind)
    return walked


def _kind(event: dict[str, Any]) -> EventKind:
    if event["type"] == "content_block_start":
        return _BLOCK_STARTS[event["content_block"]["type"]]
    if event["type"] == "content_block_delta":
        return EventKind(event["delta"]["type"])
    return EventKind(event["type"].removeprefix("content_"))


def read(raw: bytes) -> dict[str, Any]:
    """The message that the official SDK accumulates from a stream.

    Raises `EngineFaultError` for an error event.
    """
    snapshot: Any = None
    buffers: dict[int, bytes] = {}
    for event in events(raw):
        if event["type"] == "error":
            raise EngineFaultError(event["error"]["message"])
        if event["type"] != "ping":
            snapshot = accumulate_event(
                event=event,  # type: ignore[arg-type]  # the accumulator takes decoded JSON as well
                current_snapshot=snapshot,
                json_bufs=buffers,
            )
    return snapshot.to_dict(mode="json")  # type: ignore[no-any-return]  # the accumulator's type is generic


def whole(answer: ChatCompletion, **changes: Any) -> dict[str, Any]:
    """The message that the official SDK reads from a whole answer."""
    message, _ = to_message(answer, options(**changes), seal)
    body = msgspec.json.decode(msgspec.json.encode(message))
    return Message.construct(**body).to_dict(mode="json")


def blocks(raw: bytes) -> list[dict[str, Any]]:
    """The content that the SDK reads from a stream."""
    found: list[dict[str, Any]] = read(raw)["content"]
    return found


def joined(raw: bytes, delta: str) -> str:
    """All text of one type of delta in a stream, by the name of its field."""
    deltas = [event["delta"] for event in events(raw) if event["type"] == "content_block_delta"]
    return "".join(found[delta] for found in deltas if delta in found)


def ends(raw: bytes) -> tuple[str, str | None]:
    """The stop reason and stop sequence of a stream."""
    message = read(raw)
    return message["stop_reason"], message["stop_sequence"]


def of_type(content: Sequence[dict[str, Any]]) -> list[str]:
    """The types of blocks."""
    return [block["type"] for block in content]
