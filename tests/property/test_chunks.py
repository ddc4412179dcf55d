"""Whatever an engine's reads hold, merging runs changes no message and loses no fault."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from dragoman.engines.chunks import ChunkReader
from dragoman.engines.dialects.base import WireChunk, decode_answer
from dragoman.errors import EngineFaultError
from dragoman.wire.openai import ChatChunk
from tests.support import answers

# Quotes, backslashes, a half surrogate pair, and what JSON around a text looks like.
TEXT = st.text(alphabet='ab"\\\n{},:é\u2028👩', max_size=6) | st.sampled_from(
    ["\ud83d", '"},"x":{"content":"']
)
DELTAS = st.sampled_from(["content", "reasoning", "reasoning_content"]).flatmap(
    lambda key: TEXT.map(lambda text: {key: text})
) | st.tuples(st.integers(0, 1), st.sampled_from(['{"a"', ":1", "}", "", " "])).map(
    lambda piece: {"tool_calls": [{"index": piece[0], "function": {"name": None, "arguments": piece[1]}}]}
)
FIELDS: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [{}, {}, {}, {"created": 2}, {"usage": {"prompt_tokens": 3}}, {"error": "no"}]
)


@st.composite
def events(draw: st.DrawFn) -> list[bytes]:
    """The data of a stream's events: the same kind of chunk several times, then another."""
    found = []
    for _ in range(draw(st.integers(1, 5))):
        fields = draw(FIELDS)
        ascii_only = draw(st.booleans())
        kind = draw(DELTAS)
        for text in draw(st.lists(TEXT, max_size=8)):
            value = chunk_of(kind, text, fields)
            found.append(json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass"))
    return [*found, b"[DONE]"]


def chunk_of(delta: dict[str, Any], text: str, fields: dict[str, Any]) -> dict[str, Any]:
    """A chunk like others, with a text of its own."""
    (key,) = delta
    said = delta if key == "tool_calls" else {key: text}
    return {"id": "c", "choices": [{"index": 0, "delta": said, "finish_reason": None}], **fields}


def one_by_one(payloads: list[bytes]) -> tuple[list[ChatChunk], bool]:
    """The chunks without any merging, and whether all could be read."""
    decoder = msgspec.json.Decoder(WireChunk)
    found: list[ChatChunk] = []
    for payload in payloads[:-1]:
        try:
            found.append(decode_answer(payload, WireChunk, decoder))
        except EngineFaultError:
            return found, False
    return found, True


def message_of(chunks: list[ChatChunk]) -> dict[str, Any] | str:
    """The message that the SDK reads, or the fault that ends it."""
    for chunk in chunks:
        for choice in chunk.choices:
            choice.delta.reasoning = choice.delta.reasoning or choice.delta.reasoning_content
    try:
        return answers.read(answers.streamed([*chunks, answers.finished("length")]))
    except EngineFaultError as error:
        return error.message


@given(events(), st.lists(st.integers(0, 3000), max_size=4))
def test_merging_runs_changes_nothing(payloads: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(b"data: %b\n\n" % payload for payload in payloads)
    places = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    reader = ChunkReader(WireChunk)
    found: list[ChatChunk] = []
    for start, end in pairwise(places):
        if reader.fault is None:
            found += [chunk for _, chunk in reader.feed(stream[start:end])]
    expected, is_whole = one_by_one(payloads)
    assert (reader.fault is None, reader.ended) == (is_whole, is_whole)
    assert [chunk.usage for chunk in found if chunk.usage] == [
        chunk.usage for chunk in expected if chunk.usage
    ]
    assert message_of(found) == message_of(expected)
