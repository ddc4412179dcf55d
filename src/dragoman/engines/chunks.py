"""The bytes of an engine's stream to chunks: a run of chunks that differ in one string only is read as one.

An engine that is faster than the network, or than we are, delivers many chunks in a read, and most of them
repeat each other byte for byte but for the sampled text. Such a run becomes one chunk that holds all of its
text: nothing in it is decoded again and again, and the client gets one event for it.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from contextlib import suppress
from itertools import takewhile
from typing import Literal, NamedTuple, cast

import msgspec

from dragoman.engines.dialects.base import WireChunk, decode_answer
from dragoman.errors import EngineFaultError
from dragoman.wire.openai import ChatDelta, ChunkChoice, FunctionDelta, ToolCallDelta
from dragoman.wire.sse import DATA, SSEDecoder, data_of

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
    """What the lines of a run have in common: the bytes around their texts."""

    head: bytes
    tail: bytes
    field: Field
    example: WireChunk

    def fits(self, line: bytes) -> bool:
        """Whether a line begins and ends as this shape does, its end not being part of its beginning."""
        is_long = len(line) >= len(self.head) + len(self.tail)
        return is_long and line.startswith(self.head) and line.endswith(self.tail)

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
        """The chunks that this read completes, each with its data (empty for a run)."""
        try:
            return self._read(self._events.feed_lines(data))
        except EngineFaultError as error:
            self.fault = error
            return []

    def close(self) -> Read:
        """What remains when the stream ended."""
        return self._read([DATA + event.data for event in self._events.close()])

    def _read(self, lines: list[bytes]) -> Read:
        found: Read = []
        if len(lines) < _SHORTEST_RUN:
            self._decode_each(lines, found)
        else:
            self._decode_runs(lines, found)
        return found

    # ---- one by one --------------------------------------------------------------------------------------

    def _decode_each(self, lines: list[bytes], found: Read) -> None:
        data = [said for line in lines if (said := data_of(line)) is not None]
        ends = _DONE in data
        if ends:
            del data[data.index(_DONE) :]
        self._decode(data, found)
        self.ended = self.ended or (ends and self.fault is None)

    def _decode(self, data: list[bytes], found: Read) -> None:
        if len(data) > 1:
            # One call for all costs half; what it cannot read is looked at singly.
            with suppress(msgspec.DecodeError, UnicodeDecodeError):
                together: list[WireChunk] = self._list_decoder.decode(b"[%b]" % b",".join(data))
                if len(together) == len(data):
                    found.extend(zip(data, together, strict=True))
                    return
        for one in data:
            try:
                found.append((one, decode_answer(one, self._kind, self._decoder)))
            except EngineFaultError as error:
                self.fault = error
                return

    # ---- runs --------------------------------------------------------------------------------------------

    def _decode_runs(self, lines: list[bytes], found: Read) -> None:
        start = taken = misses = 0
        while misses < _MOST_MISSES and start <= len(lines) - _SHORTEST_RUN:
            shape = self._shape_of(lines[start], lines[start + 1])
            run = None if shape is None else self._run(shape, lines, start)
            if run is None:
                misses += 1
                start += 1
                continue
            self._decode_each(lines[taken:start], found)
            if self.ended or self.fault is not None:
                return
            chunk, start = run
            found.append((b"", chunk))
            taken = start
        self._decode_each(lines[taken:], found)

    def _run(self, shape: Shape, lines: list[bytes], start: int) -> tuple[WireChunk, int] | None:
        """The chunk that says what a run from `start` says, and where it ends; None where it is none."""
        pieces = _pieces(shape, lines, start)
        if len(pieces) < _SHORTEST_RUN:
            return None
        try:
            # As an array of strings they are checked as JSON: what is none breaks the array or its length.
            texts = _texts(b'["%b"]' % b'","'.join(pieces))
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
        if len(texts) != len(pieces):
            return None
        return shape.chunk("".join(texts), self._kind), start + len(pieces)

    def _shape_of(self, line: bytes, following: bytes) -> Shape | None:
        """The shape that a line and the one after it share, known or new."""
        known = next((shape for shape in self._shapes if shape.fits(line)), None)
        if known is not None or self._failures >= _MOST_FAILURES:
            return known
        new = self._new_shape(line, following)
        if new is not None:
            self._shapes = [new, *self._shapes[: _MOST_SHAPES - 1]]
        return new

    def _new_shape(self, line: bytes, following: bytes) -> Shape | None:
        for match in _STRING.finditer(line if line.startswith(DATA) else b""):
            head, tail = line[: match.start(2)], line[match.end(2) :]
            if following.startswith(head) and following.endswith(tail):
                shape = self._tried(head, tail, cast(Field, match[1].decode()))
                if shape is not None:
                    return shape
                self._failures += 1
        return None

    def _tried(self, head: bytes, tail: bytes, field: Field) -> Shape | None:
        """The shape, where a text between head and tail becomes the field and there is nothing else."""
        try:
            example = self._decoder.decode(head[len(DATA) :] + _PROBE.encode() + tail)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
        shape = Shape(head, tail, field, example)
        return shape if example.choices and example == shape.chunk(_PROBE, self._kind) else None


def _pieces(shape: Shape, lines: list[bytes], start: int) -> list[bytes]:
    """What stands between the shape's head and tail in the lines from `start` on that have both."""
    head, tail = len(shape.head), len(shape.tail)
    # Kinds of chunks come one after the other, so where one ends is soon found; then all is compared at once.
    end = bisect_left(lines, True, start, key=lambda line: not shape.fits(line))
    run = lines[start:end]
    pieces = [line[head:-tail] for line in run]
    if shape.head + (shape.tail + shape.head).join(pieces) + shape.tail == b"".join(run):
        return pieces
    return [line[head:-tail] for line in takewhile(shape.fits, run)]
