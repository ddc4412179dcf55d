"""One whole answer as a message."""

from __future__ import annotations

import msgspec
from msgspec import Raw

from dragoman.translate.answer import Answer, Seal, StreamOptions, not_unicode
from dragoman.translate.deltas import Call
from dragoman.translate.finish import Stop
from dragoman.wire.anthropic.response import (
    BlockOut,
    MessageOut,
    ServerResultOut,
    ServerToolUseOut,
    TextOut,
    ThinkingOut,
    ToolUseOut,
    Usage,
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
    blocks = MessageBlocks(options, seal)
    answer = Answer(options, blocks)
    try:
        answer.whole(completion)
        stop, usage = answer.end(options.input_estimate)
    except UnicodeEncodeError as error:
        raise not_unicode(error) from error
    return message_of(options, blocks.content, stop, usage), answer.calls


def message_of(options: StreamOptions, content: list[BlockOut], stop: Stop, usage: Usage) -> MessageOut:
    """The message of these blocks."""
    return MessageOut(
        id=options.message_id,
        model=options.model,
        content=content,
        stop_reason=stop.reason,
        stop_sequence=stop.sequence,
        usage=usage,
        context_management=options.context_management,
    )


def encode_message(message: MessageOut) -> bytes:
    """The message's JSON; `EngineFaultError` for text that is not Unicode."""
    try:
        return msgspec.json.encode(message)
    except UnicodeEncodeError as error:
        raise not_unicode(error) from error


class MessageBlocks:
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
        made = ServerToolUseOut if call.on_server else ToolUseOut
        self.content.append(made(id=call.our_id, name=call.name, input=Raw(call.input.encode())))

    def server_result(self, block: ServerResultOut) -> None:
        """What a tool of this server gave back."""
        self.content.append(block)
