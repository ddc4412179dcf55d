"""One whole answer as a message."""

from __future__ import annotations

import msgspec
from msgspec import Raw

from dragoman.translate.answer import Answer, Seal, StreamOptions, not_unicode
from dragoman.translate.deltas import Call
from dragoman.wire.anthropic.response import (
    BlockOut,
    MessageOut,
    TextOut,
    ThinkingOut,
    ToolUseOut,
)
from dragoman.wire.openai import ChatCompletion

__all__ = ["Seal", "StreamOptions", "encode_message", "to_message"]


def to_message(
    completion: ChatCompletion, options: StreamOptions, seal: Seal
) -> tuple[MessageOut, list[tuple[str, str]]]:
    """The message of a whole answer, and its complete calls (our id, the arguments as the model wrote them).

    Equal to what the same answer is as a stream. Raises `EngineFaultError` for what is no legal answer: no
    choice, no finish reason, arguments that are no JSON object, text that is not Unicode.
    """
    blocks = _Blocks(options, seal)
    answer = Answer(options, blocks)
    try:
        answer.whole(completion)
        stop, usage = answer.end(options.input_estimate)
    except UnicodeEncodeError as error:
        raise not_unicode(error) from error
    message = MessageOut(
        id=options.message_id,
        model=options.model,
        content=blocks.content,
        stop_reason=stop.reason,
        stop_sequence=stop.sequence,
        usage=usage,
        context_management=options.context_management,
    )
    return message, answer.calls


def encode_message(message: MessageOut) -> bytes:
    """The message's JSON; `EngineFaultError` for text that is not Unicode."""
    try:
        return msgspec.json.encode(message)
    except UnicodeEncodeError as error:
        raise not_unicode(error) from error


class _Blocks:
    """The sink of a whole answer's blocks."""

    def __init__(self, options: StreamOptions, seal: Seal) -> None:
        self.content: list[BlockOut] = []
        self._shows_thinking = options.shows_thinking
        self._seal = seal
        self._text: list[str] = []

    def open_text(self) -> None:
        """A text block begins."""

    def text(self, text: str) -> None:
        """More of the open text block."""
        self._text.append(text)

    def close_text(self) -> None:
        """The text block ends."""
        self.content.append(TextOut(text="".join(self._text)))
        self._text.clear()

    def open_thinking(self) -> None:
        """A thinking block begins."""

    def thinking(self, text: str) -> None:
        """More thinking: all of it comes at the end."""

    def close_thinking(self, thought: str) -> None:
        """The thinking block ends."""
        signature = self._seal(thought, self._shows_thinking)
        self.content.append(
            ThinkingOut(thinking=thought if self._shows_thinking else "", signature=signature)
        )

    def open_call(self, call: Call) -> None:
        """The block of a call begins."""

    def arguments(self, text: str) -> None:
        """More arguments: the call keeps them."""

    def close_call(self, call: Call) -> None:
        """The block of a call ends."""
        self.content.append(ToolUseOut(id=call.our_id, name=call.name, input=Raw(call.input.encode())))
