"""Reads of an engine's stream: runs that differ in one string are one chunk, and nothing else is merged."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from dragoman.engines.chunks import ChunkReader
from dragoman.engines.dialects.base import WireChunk
from dragoman.engines.dialects.llamacpp import LlamaChunk
from dragoman.wire.openai import ChatDelta, FunctionDelta, ToolCallDelta

DONE = b"data: [DONE]\n\n"


def payload(delta: dict[str, Any], **fields: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}
    return {"id": "c1", "created": 17, "model": "m", "choices": [choice | fields.pop("choice", {})], **fields}


def event(value: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(value, separators=(",", ":")).encode() + b"\n\n"


def said(*texts: str, key: str = "content", **fields: Any) -> bytes:
    return b"".join(event(payload({key: text}, **fields)) for text in texts)


def called(*pieces: str, **fields: Any) -> bytes:
    calls = ([{"index": 1, "function": {"arguments": piece}, **fields}] for piece in pieces)
    return b"".join(event(payload({"tool_calls": pieces})) for pieces in calls)


def deltas(*reads: bytes, kind: type[WireChunk] = WireChunk) -> list[ChatDelta]:
    reader = ChunkReader(kind)
    found = [chunk for read in reads for _, chunk in reader.feed(read)]
    assert reader.fault is None
    return [chunk.choices[0].delta for chunk in found]


def contents(*reads: bytes) -> list[str | None]:
    return [delta.content for delta in deltas(*reads)]


def test_a_run_of_text_is_one_chunk() -> None:
    reader = ChunkReader(WireChunk)
    ((raw, chunk),) = reader.feed(said("a", ' "b"\n', "é", "", "👩", "\\"))
    assert raw == b""
    assert chunk.choices[0].delta == ChatDelta(content='a "b"\né👩\\')
    assert (chunk.id, chunk.model, chunk.usage, reader.ended) == ("c1", "m", None, False)


@pytest.mark.parametrize("key", ["content", "reasoning", "reasoning_content"])
def test_each_kind_of_text_makes_runs(key: str) -> None:
    (delta,) = deltas(said(*"abcd", key=key))
    assert msgspec.structs.asdict(delta) == msgspec.structs.asdict(ChatDelta()) | {key: "abcd"}


def test_a_run_of_arguments_is_one_piece_of_the_call() -> None:
    (delta,) = deltas(called('{"a"', ": ", '"b', '"}'))
    piece = ToolCallDelta(index=1, function=FunctionDelta(arguments='{"a": "b"}'))
    assert delta == ChatDelta(tool_calls=[piece])


def test_what_changes_ends_a_run() -> None:
    read = said(*"abcd", key="reasoning") + said(*"efgh") + said("x", choice={"finish_reason": "stop"}) + DONE
    thought, text, last = deltas(read)
    assert (thought.reasoning, text.content, last.content) == ("abcd", "efgh", "x")


def test_runs_meet_again_in_later_reads() -> None:
    assert contents(said(*"abcd"), said("e"), said(*"fghi")) == ["abcd", "e", "fghi"]


def test_a_read_may_end_inside_an_event() -> None:
    stream = said(*"abcdefgh")
    assert "".join(text or "" for text in contents(stream[:700], stream[700:])) == "abcdefgh"


def test_short_runs_are_read_one_by_one() -> None:
    assert contents(said(*"abc")) == ["a", "b", "c"]


def test_the_end_mark_ends_what_is_read() -> None:
    reader = ChunkReader(WireChunk)
    found = reader.feed(said(*"abcd") + DONE + said(*"efgh"))
    assert [chunk.choices[0].delta.content for _, chunk in found] == ["abcd"]
    assert reader.ended


@pytest.mark.parametrize(
    "read",
    [
        b"".join(said(text, created=n) for n, text in enumerate("abcd")),
        said(*"abcd", usage={"prompt_tokens": 1, "completion_tokens": 1}),
        said(*"abcd", choice={"finish_reason": "stop"}),
        said(*"abcd", choice={"index": 1}),
        said(*"abcd", error={"message": "half"}),
        called(*"abcd", id="c"),
        called(*"abcd", function={"name": "f", "arguments": "{}"}),
        b"".join(event(payload({"content": text, "reasoning": text})) for text in "abcd"),
        b"".join(event(payload({"content": text, "refusal": "no"})) for text in "abcd"),
        b"".join(event(payload({"content": "x"}, note={"content": text})) for text in "abcd"),
    ],
    ids=[
        "times", "counts", "ends", "other choices", "errors", "ids", "whole calls", "two texts", "refusals",
        "a namesake",
    ],
)  # fmt: skip
def test_chunks_that_say_more_are_never_merged(read: bytes) -> None:
    reader = ChunkReader(WireChunk)
    found = reader.feed(read)
    assert [raw for raw, _ in found] == [line.removeprefix(b"data: ") for line in read.split(b"\n\n")[:-1]]


def test_a_shape_is_not_looked_for_without_end() -> None:
    reader = ChunkReader(WireChunk)
    for _ in range(20):
        assert len(reader.feed(said(*"abcd", choice={"finish_reason": "stop"}))) == 4
    assert [chunk.choices[0].delta.content for _, chunk in reader.feed(said(*"abcd"))] == list("abcd")


def test_what_a_dialect_adds_is_not_lost() -> None:
    timed = said(*"abcd", timings={"cache_n": 1})
    reader = ChunkReader(LlamaChunk)
    assert len(reader.feed(timed)) == 4
    assert deltas(said(*"abcd"), kind=LlamaChunk) == [ChatDelta(content="abcd")]


@pytest.mark.parametrize("broken", [b'data: {"id":"c1"\n\n', said("x").replace(b'"x"', b'"\\x"')])
def test_what_cannot_be_read_is_the_fault_and_nothing_after_it_is_read(broken: bytes) -> None:
    reader = ChunkReader(WireChunk)
    found = reader.feed(said(*"abcd") + broken + said(*"efgh") + DONE)
    assert "".join(chunk.choices[0].delta.content or "" for _, chunk in found) == "abcd"
    assert reader.fault is not None
    assert not reader.ended


def test_a_line_whose_end_is_part_of_its_beginning_is_the_fault() -> None:
    line = said("a").removesuffix(b"\n\n")
    cut = line[: line.index(b'"a"') + 1] + line[line.index(b'"a"') + 3 :]
    reader = ChunkReader(WireChunk)
    found = reader.feed(said(*"abcd") + cut + b"\n\n" + said(*"efgh"))
    assert "".join(chunk.choices[0].delta.content or "" for _, chunk in found) == "abcd"
    assert reader.fault is not None


def test_events_without_data_and_odd_spellings_of_it_are_read_as_they_are() -> None:
    odd = b": a comment\n\nevent: x\n\n" + said("e").replace(b"data: ", b"data:") + b"id: 7\n\n"
    assert contents(said(*"abcd") + odd + said(*"fghi")) == ["abcd", "e", "fghi"]
    reader = ChunkReader(WireChunk)
    assert len(reader.feed(said(*"abcd") + b"data:[DONE]\n\n" + said(*"efgh"))) == 1
    assert reader.ended


def test_half_a_surrogate_pair_inside_a_run_is_the_fault() -> None:
    reader = ChunkReader(WireChunk)
    found = reader.feed(said("a", "b", "\ud83d", "\ude00", "c"))
    assert [chunk.choices[0].delta.content for _, chunk in found] == ["a", "b"]
    assert reader.fault is not None


def test_what_remains_at_the_end_is_read() -> None:
    reader = ChunkReader(WireChunk)
    assert reader.feed(said("a")[:-2]) == []
    assert [chunk.choices[0].delta.content for _, chunk in reader.close()] == ["a"]
