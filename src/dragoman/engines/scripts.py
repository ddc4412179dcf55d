"""Scripts for `ScriptedInferenceEngine`: chunks, faults, and whole answers made of them."""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from dragoman.errors import DragomanError
from dragoman.wire.openai import (
    ChatChunk,
    ChatDelta,
    ChatUsage,
    ChunkChoice,
    FunctionDelta,
    ToolCallDelta,
)


class Delay(msgspec.Struct, frozen=True):
    """A step: silence for some seconds."""

    seconds: float


class Hang(msgspec.Struct, frozen=True):
    """A step: silence until the caller goes away."""


class Fail(msgspec.Struct, frozen=True):
    """A step: the engine reports this error in the middle of its answer."""

    error: DragomanError


class Cut(msgspec.Struct, frozen=True):
    """A step: the connection ends before the answer is complete."""


Step = ChatChunk | list[ChatChunk] | Delay | Hang | Fail | Cut


class Script(msgspec.Struct, frozen=True, kw_only=True):
    """One answer: its steps in order; a list of chunks is one read, a lone chunk is a read of its own.

    refusal: raised instead of any answer. wait: seconds until the engine accepts or refuses. obeys: stop
    strings and `max_tokens` (one delta counts as one token) of the request end the answer; else it is played
    as written. usage: added as a last chunk where no chunk of the script has one: the request's own count,
    and the deltas.
    """

    steps: Sequence[Step] = ()
    refusal: DragomanError | None = None
    wait: float = 0.0
    obeys: bool = False
    usage: ChatUsage | None = None


def text_chunk(text: str) -> ChatChunk:
    """A chunk with a piece of text."""
    return _chunk(ChatDelta(content=text))


def thinking_chunk(text: str) -> ChatChunk:
    """A chunk with a piece of thinking."""
    return _chunk(ChatDelta(reasoning=text))


def call_chunk(
    index: int | None = 0,
    *,
    call_id: str | None = None,
    name: str | None = None,
    arguments: str | None = None,
) -> ChatChunk:
    """A chunk with a piece of one call."""
    function = FunctionDelta(name=name, arguments=arguments)
    return _chunk(ChatDelta(tool_calls=[ToolCallDelta(index=index, id=call_id, function=function)]))


def finish_chunk(reason: str = "stop", matched_stop: str | None = None) -> ChatChunk:
    """The chunk that says why the answer ended."""
    return ChatChunk(
        choices=[ChunkChoice(delta=ChatDelta(), finish_reason=reason, matched_stop=matched_stop)]
    )


def usage_chunk(prompt_tokens: int, completion_tokens: int) -> ChatChunk:
    """A chunk without choices that carries the token counts."""
    return ChatChunk(usage=ChatUsage(prompt_tokens=prompt_tokens, completion_tokens=completion_tokens))


def answer(
    text: str = "",
    *,
    thinking: str = "",
    calls: Sequence[tuple[str, str]] = (),
    finish: str | None = None,
    wait: float = 0.0,
    usage: ChatUsage | None = None,
) -> Script:
    """A well-behaved answer: thinking, then text, then calls (name, arguments), in pieces of a word each."""
    steps: list[Step] = [thinking_chunk(piece) for piece in _pieces(thinking)]
    steps += [text_chunk(piece) for piece in _pieces(text)]
    for index, (name, arguments) in enumerate(calls):
        steps.append(call_chunk(index, call_id=f"call_{index}", name=name, arguments=""))
        steps += [call_chunk(index, arguments=piece) for piece in _pieces(arguments)]
    steps.append(finish_chunk(finish or ("tool_calls" if calls else "stop")))
    return Script(steps=steps, wait=wait, obeys=True, usage=usage)


def refuse(error: DragomanError, *, wait: float = 0.0) -> Script:
    """A request that the engine does not accept."""
    return Script(refusal=error, wait=wait)


_PIECE = re.compile(r"\s*\S+|\s+")


def _pieces(text: str) -> list[str]:
    return _PIECE.findall(text)


def _chunk(delta: ChatDelta) -> ChatChunk:
    return ChatChunk(choices=[ChunkChoice(delta=delta)])
