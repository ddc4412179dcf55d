"""The bytes of an engine's stream to chunks: a run of chunks that differ in one string only is read as one.

An engine that is faster than the network, or than we are, delivers many chunks in a read, and most of them
repeat each other byte for byte but for the sampled text. Such a run becomes one chunk that holds all of its
text: nothing in it is decoded again and again, and the client gets one event for it.
"""

from __future__ import annotations

import re
from contextlib import suppress
from itertools import islice
from typing import Literal, NamedTuple, cast

import msgspec

from dragoman.engines.dialects.base import WireChunk, decode_answer
from dragoman.errors import EngineFaultError
from dragoman.wire.openai import ChatDelta, ChunkChoice, FunctionDelta, ToolCallDelta
from dragoman.wire.sse import SSEDecoder

Field = Literal["content", "reasoning", "reasoning_content", "arguments"]
Read = list[tuple[bytes, WireChunk]]

_DONE = b"[DONE]"
# Fewer chunks than this are decoded as quickly as they are compared.
_SHORTEST_RUN = 4
# Text, thinking and two calls; an engine that writes the time into its chunks makes new ones every second.
_MOST_SHAPES = 4
# Chunks that begin no run, by read; and shapes that hold more than a text, by stream. Then no more are tried.
_MOST_MISSES = 12
_MOST_FAILURES = 16
_STRING = re.compile(rb'"(content|reasoning|reasoning_content|arguments)": ?"((?:[^"\\]|\\.)*)"')
# Stands in for the text while a shape is tried out.
_PROBE = "\u241fprobe\u241f"
_texts = msgspec.json.Decoder(list[str]).decode


class Shape(NamedTuple):
    """What the payloads of a run have in common: the bytes around their texts."""

    head: bytes
    tail: bytes
    field: Field
    example: WireChunk

    def fits(self, payload: bytes) -> bool:
        """Whether a payload begins and ends as this shape does."""
        return payload.startswith(self.head) and payload.endswith(self.tail)

    def chunk(self, text: str, kind: type[WireChunk]) -> WireChunk:
        """A chunk that says a text and nothing else; a call's piece continues it, without id and name."""
        said = self.example.choices[0].delta
        delta = ChatDelta(role=said.role)
        if self.field == "arguments":
            index = said.tool_calls[0].index if said.tool_calls else None
            delta.tool_calls = [ToolCallDelta(index=index, function=FunctionDelta(arguments=text))]
        else:
            setattr(delta, self.field, text)
        return kind(choices=[ChunkChoice(delta=delta)], id=self.example.id, model=self.example.model)


class ChunkReader:
    """Reads one stream in a dialect's chunks.

    `ended` is True once the engine said that it is done. `fault` is set by what cannot be read; nothing after
    it is.
    """

    def __init__(self, kind: type[WireChunk]) -> None:
        self.ended = False
        self.fault: EngineFaultError | None = None
        self._kind = kind
        self._events = SSEDecoder()
        self._decoder = msgspec.json.Decoder(kind)
        self._list_decoder = msgspec.json.Decoder(list[kind])  # type: ignore[valid-type]  # known at run time
        self._shapes: list[Shape] = []
        self._failures = 0

    def feed(self, data: bytes) -> Read:
        """The chunks that this read completes, each with its payload (empty for a run)."""
        try:
            return self._read(self._events.feed_data(data))
        except EngineFaultError as error:
            self.fault = error
            return []

    def close(self) -> Read:
        """What remains when the stream ended."""
        return self._read([event.data for event in self._events.close()])

    def _read(self, payloads: list[bytes]) -> Read:
        ends = _DONE in payloads
        if ends:
            payloads = payloads[: payloads.index(_DONE)]
        found: Read = []
        if len(payloads) < _SHORTEST_RUN:
            self._decode_each(payloads, found)
        else:
            self._decode_runs(payloads, found)
        self.ended = self.ended or (ends and self.fault is None)
        return found

    # ---- one by one --------------------------------------------------------------------------------------

    def _decode_each(self, payloads: list[bytes], found: Read) -> None:
        if len(payloads) > 1:
            # One call for all costs half; what it cannot read is looked at singly.
            with suppress(msgspec.DecodeError, UnicodeDecodeError):
                together: list[WireChunk] = self._list_decoder.decode(b"[%b]" % b",".join(payloads))
                if len(together) == len(payloads):
                    found.extend(zip(payloads, together, strict=True))
                    return
        for payload in payloads:
            try:
                found.append((payload, decode_answer(payload, self._kind, self._decoder)))
            except EngineFaultError as error:
                self.fault = error
                return

    # ---- runs --------------------------------------------------------------------------------------------

    def _decode_runs(self, payloads: list[bytes], found: Read) -> None:
        start = taken = misses = 0
        while misses < _MOST_MISSES and start <= len(payloads) - _SHORTEST_RUN:
            shape = self._shape_of(payloads[start], payloads[start + 1])
            run = None if shape is None else self._run(shape, payloads, start)
            if run is None:
                misses += 1
                start += 1
                continue
            self._decode_each(payloads[taken:start], found)
            if self.fault is not None:
                return
            chunk, start = run
            found.append((b"", chunk))
            taken = start
        self._decode_each(payloads[taken:], found)

    def _run(self, shape: Shape, payloads: list[bytes], start: int) -> tuple[WireChunk, int] | None:
        """The chunk that says what a run from `start` says, and where it ends; None where it is none."""
        end = _end_of_run(shape, payloads, start)
        if end - start < _SHORTEST_RUN:
            return None
        head, tail = len(shape.head), len(shape.tail)
        pieces = [payload[head:-tail] for payload in payloads[start:end]]
        try:
            # As an array of strings they are checked as JSON: what is none breaks the array or its length.
            texts = _texts(b'["%b"]' % b'","'.join(pieces))
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
        if len(texts) != len(pieces):
            return None
        return shape.chunk("".join(texts), self._kind), end

    def _shape_of(self, payload: bytes, following: bytes) -> Shape | None:
        """The shape that a payload and the one after it share, known or new."""
        known = next((shape for shape in self._shapes if shape.fits(payload)), None)
        if known is not None or self._failures >= _MOST_FAILURES:
            return known
        new = self._new_shape(payload, following)
        if new is not None:
            self._shapes = [new, *self._shapes[: _MOST_SHAPES - 1]]
        return new

    def _new_shape(self, payload: bytes, following: bytes) -> Shape | None:
        for match in _STRING.finditer(payload):
            head, tail = payload[: match.start(2)], payload[match.end(2) :]
            if following.startswith(head) and following.endswith(tail):
                shape = self._tried(head, tail, cast(Field, match[1].decode()))
                if shape is not None:
                    return shape
                self._failures += 1
        return None

    def _tried(self, head: bytes, tail: bytes, field: Field) -> Shape | None:
        """The shape, where a text between head and tail becomes the field and there is nothing else."""
        try:
            example = self._decoder.decode(head + _PROBE.encode() + tail)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
        shape = Shape(head, tail, field, example)
        return shape if example.choices and example == shape.chunk(_PROBE, self._kind) else None


def _end_of_run(shape: Shape, payloads: list[bytes], start: int) -> int:
    head, tail = shape.head, shape.tail
    end = start
    for payload in islice(payloads, start, None):
        if not (payload.startswith(head) and payload.endswith(tail)):
            break
        end += 1
    return end
