"""Writes a message's events as bytes; every one passes the grammar first."""

from __future__ import annotations

import msgspec

from dragoman.errors import DragomanError
from dragoman.translate.answer import Seal, StreamOptions
from dragoman.translate.deltas import Call
from dragoman.translate.finish import Stop
from dragoman.translate.grammar import EventKind, State, StreamGrammar
from dragoman.translate.usage import to_delta
from dragoman.wire.anthropic.errors import encode_error_event
from dragoman.wire.anthropic.events import MessageDelta, MessageStart, StopDelta
from dragoman.wire.anthropic.response import (
    MessageOut,
    ServerResultOut,
    ServerToolUseOut,
    TextOut,
    ThinkingOut,
    ToolUseOut,
    Usage,
)
from dragoman.wire.sse import encode_event, one_line

PING = b'event: ping\ndata: {"type": "ping"}\n\n'
_MESSAGE_STOP = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
_START = b'event: content_block_start\ndata: {"type":"content_block_start","index":%d,"content_block":%b}\n\n'
_STOP = b'event: content_block_stop\ndata: {"type":"content_block_stop","index":%d}\n\n'
# What stands before a delta's JSON string, and after it.
_DELTA = (
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":{"type":"%b","%b":'
)
_DELTA_END = b"}}\n\n"

_SILENT = frozenset({State.NEW, State.DONE, State.FAILED})
_encode = msgspec.json.Encoder().encode
_EMPTY_TEXT = _encode(TextOut(text=""))
_EMPTY_THINKING = _encode(ThinkingOut(thinking="", signature=""))
_EMPTY_INPUT = msgspec.Raw(b"{}")


class EventWriter:
    """The events of one message, collected until `flush`: the sink of a stream's blocks.

    All methods raise `GrammarError` instead of writing an event that may not come.
    """

    def __init__(self, options: StreamOptions, seal: Seal) -> None:
        self._options = options
        self._seal = seal
        self._shows_thinking = options.shows_thinking
        self._grammar = StreamGrammar()
        self._advance = self._grammar.advance
        self._out: list[bytes] = []
        self._index = 0
        self._head = b""  # of the open block's deltas

    def flush(self) -> bytes:
        """What was written since the last flush."""
        out = b"".join(self._out)
        self._out.clear()
        return out

    # ---- the message --------------------------------------------------------------------------------------

    def start(self, input_tokens: int) -> None:
        """The message before its first block."""
        self._advance(EventKind.MESSAGE_START)
        message = MessageOut(
            id=self._options.message_id,
            model=self._options.model,
            content=[],
            stop_reason=None,
            usage=Usage(input_tokens=input_tokens, output_tokens=0),
        )
        self._out.append(encode_event("message_start", one_line(_encode(MessageStart(message=message)))))

    def ping(self) -> None:
        """A sign of life; nothing before the start and after the end."""
        if self._grammar.state not in _SILENT:
            self._advance(EventKind.PING)
            self._out.append(PING)

    def end(self, stop: Stop, usage: Usage) -> None:
        """Why the message ended, what it cost, and its end."""
        self._advance(EventKind.MESSAGE_DELTA)
        delta = MessageDelta(
            delta=StopDelta(stop_reason=stop.reason, stop_sequence=stop.sequence),
            usage=to_delta(usage),
            context_management=self._options.context_management,
        )
        self._out.append(encode_event("message_delta", one_line(_encode(delta))))
        self._advance(EventKind.MESSAGE_STOP)
        self._out.append(_MESSAGE_STOP)

    def error(self, error: DragomanError) -> None:
        """The one error; nothing comes after it."""
        self._advance(EventKind.ERROR)
        self._out.append(encode_error_event(error, self._options.request_id))

    # ---- its blocks ---------------------------------------------------------------------------------------

    def open_text(self) -> None:
        """A text block begins."""
        self._open(EventKind.TEXT_START, _EMPTY_TEXT, b"text_delta", b"text")

    def text(self, text: str) -> None:
        """More of the open text block."""
        self._advance(EventKind.TEXT_DELTA, self._index)
        self._out.append(self._head + one_line(_encode(text)) + _DELTA_END)

    def close_text(self) -> None:
        """The text block ends."""
        self._close()

    def open_thinking(self) -> None:
        """A thinking block begins."""
        self._open(EventKind.THINKING_START, _EMPTY_THINKING, b"thinking_delta", b"thinking")

    def thinking(self, text: str) -> None:
        """More thinking, where the client wants to see it."""
        if self._shows_thinking:
            self._advance(EventKind.THINKING_DELTA, self._index)
            self._out.append(self._head + one_line(_encode(text)) + _DELTA_END)

    def close_thinking(self, thought: str) -> None:
        """The thinking block ends, signed."""
        self._advance(EventKind.SIGNATURE_DELTA, self._index)
        head = _DELTA % (self._index, b"signature_delta", b"signature")
        self._out.append(head + _encode(self._seal(thought, self._shows_thinking)) + _DELTA_END)
        self._close()

    def open_call(self, call: Call) -> None:
        """The block of a call begins."""
        made = ServerToolUseOut if call.on_server else ToolUseOut
        kind = EventKind.SERVER_TOOL_USE_START if call.on_server else EventKind.TOOL_USE_START
        block = _encode(made(id=call.our_id, name=call.name, input=_EMPTY_INPUT))
        self._open(kind, block, b"input_json_delta", b"partial_json")

    def arguments(self, text: str) -> None:
        """More of the open call's arguments."""
        self._advance(EventKind.INPUT_JSON_DELTA, self._index)
        self._out.append(self._head + one_line(_encode(text)) + _DELTA_END)

    def close_call(self, call: Call) -> None:
        """The block of a call ends."""
        self._close()

    def server_result(self, block: ServerResultOut) -> None:
        """What a tool of this server gave back: a block that comes whole."""
        self._advance(EventKind.SERVER_RESULT_START, self._index)
        self._out.append(_START % (self._index, one_line(_encode(block))))
        self._close()

    def _open(self, kind: EventKind, block: bytes, delta: bytes, field: bytes) -> None:
        self._advance(kind, self._index)
        self._head = _DELTA % (self._index, delta, field)
        self._out.append(_START % (self._index, one_line(block)))

    def _close(self) -> None:
        self._advance(EventKind.BLOCK_STOP, self._index)
        self._out.append(_STOP % self._index)
        self._index += 1
