"""One answer as a stream: exact events, and what waits."""

from __future__ import annotations

from typing import Any

import pytest

from dragoman.translate.stream import MessageStream
from dragoman.wire.openai import ChatChunk, ChatDelta, ChunkChoice
from tests.support.answers import (
    blocks,
    called,
    counted,
    events,
    finished,
    joined,
    of_type,
    options,
    piece,
    read,
    said,
    seal,
    streamed,
)


def started(**changes: Any) -> MessageStream:
    """A stream after its first event."""
    stream = MessageStream(options(**changes), seal)
    stream.start(7)
    return stream


def test_the_exact_bytes_of_a_short_answer() -> None:
    stream = MessageStream(options(), seal)
    assert stream.start(12).decode() == (
        "event: message_start\n"
        'data: {"type":"message_start","message":{"type":"message","id":"msg_01","role":"assistant",'
        '"model":"claude-test","content":[],"stop_reason":null,"stop_sequence":null,"stop_details":null,'
        '"usage":{"input_tokens":12,"output_tokens":0,"cache_creation_input_tokens":0,'
        '"cache_read_input_tokens":0,"cache_creation":null,"output_tokens_details":null,'
        '"server_tool_use":null,"service_tier":"standard","speed":"standard","inference_geo":null},'
        '"container":null,"diagnostics":null}}\n\n'
    )
    assert stream.ping().decode() == 'event: ping\ndata: {"type": "ping"}\n\n'
    assert stream.feed([said("Hi"), said(' "you"\n')]).decode() == (
        "event: content_block_start\n"
        'data: {"type":"content_block_start","index":0,'
        '"content_block":{"type":"text","text":"","citations":null}}\n\n'
        "event: content_block_delta\n"
        'data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hi"}}\n\n'
        "event: content_block_delta\n"
        'data: {"type":"content_block_delta","index":0,'
        '"delta":{"type":"text_delta","text":" \\"you\\"\\n"}}\n\n'
    )
    assert stream.feed([finished(), counted(20, 4)]) == b""
    assert stream.end().decode() == (
        'event: content_block_stop\ndata: {"type":"content_block_stop","index":0}\n\n'
        "event: message_delta\n"
        'data: {"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null,'
        '"stop_details":null,"container":null},"usage":{"output_tokens":4,"input_tokens":20,'
        '"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens_details":null,'
        '"server_tool_use":null}}\n\n'
        'event: message_stop\ndata: {"type":"message_stop"}\n\n'
    )
    assert stream.finished
    assert stream.stop_reason == "end_turn"
    assert stream.usage is not None
    assert stream.usage.input_tokens == 20


# ---- blocks -----------------------------------------------------------------------------------------------


def test_thinking_is_signed_just_before_its_end() -> None:
    raw = streamed([said(reasoning="Hm"), said(reasoning="."), said("Hi"), finished()], display="summarized")
    assert [event["delta"] for event in events(raw) if event["type"] == "content_block_delta"] == [
        {"type": "thinking_delta", "thinking": "Hm"},
        {"type": "thinking_delta", "thinking": "."},
        {"type": "signature_delta", "signature": "digest of Hm."},
        {"type": "text_delta", "text": "Hi"},
    ]


def test_no_character_of_a_text_can_end_a_line() -> None:
    text = "a\x85b\u2028c\u2029d\r\ne\x0b\x0c\x1c\x1d\x1ef é"
    raw = streamed([said(text), called(piece(f'{{"a": "b{text[:6]}"}}', "f")), finished()])
    assert "\n".join(raw.decode().splitlines()) + "\n" == raw.decode()
    assert [block.get("text", block.get("input")) for block in blocks(raw)] == [text, {"a": f"b{text[:6]}"}]


def test_no_character_of_anything_else_can_end_a_line() -> None:
    odd = "a\x85b\u2028c\u2029"
    chunks = [called(piece("{}", odd)), said("x"), called(piece("{", odd, index=1)), finished("stop", odd)]
    raw = streamed(chunks, model=odd)
    assert "\n".join(raw.decode().splitlines()) + "\n" == raw.decode()
    message = read(raw)
    assert (message["model"], message["stop_sequence"], message["content"][0]["name"]) == (odd, odd, odd)


def test_omitted_thinking_has_a_block_without_text() -> None:
    raw = streamed([said(reasoning="Hm"), said(reasoning="."), finished()], display="omitted")
    assert blocks(raw) == [{"type": "thinking", "thinking": "", "signature": "text of Hm."}]
    assert b"thinking_delta" not in raw


@pytest.mark.parametrize(
    ("chunks", "types"),
    [
        ([said(reasoning="a"), said("\n\n"), called(piece("{}", "f"))], ["thinking", "tool_use"]),
        ([said("\n"), said(reasoning="a"), said("b")], ["thinking", "text"]),
        ([said("a"), called(piece("{}", "f")), said(" \n"), called(piece("{}", "g", None, 1))],
         ["text", "tool_use", "tool_use"]),
        ([called(piece("{}", "f")), said("\n")], ["tool_use"]),
        ([said(reasoning="a"), said("\n"), said(reasoning="b")], ["thinking"]),
        ([said("\u3000")], ["text"]),
        # thinking that is turned off: the template closes it at once, and an engine still reads that
        ([said(reasoning="\n\n"), said("a")], ["text"]),
        ([said(reasoning="\n"), said(reasoning="\n"), called(piece("{}", "f"))], ["tool_use"]),
        ([said("a"), said(reasoning="\n"), said("b")], ["text"]),
        ([said("a"), said(reasoning="\n"), said("b"), said(reasoning="c")], ["text", "thinking"]),
        ([said(reasoning="\n"), said("\n"), said(reasoning="a")], ["thinking"]),
        ([said(reasoning="\n")], ["text"]),
    ],
)  # fmt: skip
def test_white_space_between_blocks_is_no_block(chunks: list[ChatChunk], types: list[str]) -> None:
    assert of_type(blocks(streamed([*chunks, finished()]))) == types


def test_white_space_that_text_follows_is_kept() -> None:
    raw = streamed([said(reasoning="a"), said("\n"), said("\n"), said(" b"), said("\n"), finished()])
    assert blocks(raw)[1]["text"] == "\n\n b\n"


def test_white_space_that_thinking_follows_is_kept() -> None:
    thoughts = ["\n", " ", "a", "\n\n", "b"]
    raw = streamed([*(said(reasoning=thought) for thought in thoughts), said("c"), finished()])
    assert blocks(raw)[0] == {"type": "thinking", "thinking": "\n a\n\nb", "signature": "digest of \n a\n\nb"}


@pytest.mark.parametrize("chunks", [[], [said("")], [ChatChunk()], [said(reasoning="")]])
def test_nothing_is_one_empty_text_block(chunks: list[ChatChunk]) -> None:
    assert blocks(streamed([*chunks, finished()])) == [{"type": "text", "text": "", "citations": None}]


def test_one_chunk_can_hold_everything() -> None:
    calls = [piece("{}", "f"), piece("{}", "g", None, 1)]
    everything = said("b", reasoning="a", refusal="c", tool_calls=calls)
    found = blocks(streamed([everything, finished("tool_calls")]))
    assert of_type(found) == ["thinking", "text", "tool_use", "tool_use"]
    assert found[1]["text"] == "bc"


def test_only_the_first_choice_is_read() -> None:
    other = ChunkChoice(delta=ChatDelta(content="other"), index=1, finish_reason="stop")
    stream = started()
    stream.feed([ChatChunk(choices=[other]), ChatChunk(choices=[])])
    assert b"ended before" in stream.end()


# ---- what waits -------------------------------------------------------------------------------------------


def test_text_waits_for_the_open_call_and_flows_out_when_it_is_complete() -> None:
    stream = started()
    assert b"tool_use" in stream.feed([called(piece('{"a":', "f"))])
    assert stream.feed([said("x"), said("y"), said(reasoning="z")]) == b""
    out = stream.feed([called(piece("1}"))])
    assert [event["type"] for event in events(out)].count("content_block_stop") == 2
    assert joined(out, "text") == "xy"
    assert joined(out, "thinking") == "z"


def test_a_complete_call_closes_when_something_waits_and_not_before() -> None:
    stream = started()
    complete = [called(piece("{}", "f")), called(piece(" \n")), called(piece(""))]
    assert b"block_stop" not in stream.feed(complete)
    assert b"block_stop" in stream.feed([said(" ")])


def test_white_space_for_a_call_that_is_closed_is_ignored() -> None:
    chunks = [called(piece("{}", "f")), said("x"), called(piece("\n", "f")), called(piece("")), finished()]
    assert of_type(blocks(streamed(chunks))) == ["tool_use", "text"]


def test_interleaved_calls_come_one_after_the_other() -> None:
    chunks = [
        called(piece('{"a":', "f", "c0", 0), piece('{"b":', "g", "c1", 1)),
        called(piece("[1", index=1)),
        said("between"),
        called(piece("0", index=0), piece("]", index=1)),
        called(piece("}", index=0)),
        called(piece("}", index=1)),
        finished("tool_calls"),
    ]
    found = blocks(streamed(chunks))
    assert [block.get("input", block.get("text")) for block in found] == [{"a": 0}, {"b": [1]}, "between"]


def test_a_block_begins_with_its_first_arguments() -> None:
    stream = started()
    assert stream.feed([called(piece("", "get_", "c"))]) == b""
    assert stream.feed([called(piece(" ", "weather"))]) == b""
    assert b'"name":"get_weather"' in stream.feed([called(piece("{"))])


def test_arguments_before_the_name_wait_for_it() -> None:
    stream = started()
    assert stream.feed([called(piece('{"a":')), called(piece("1"))]) == b""
    assert stream.feed([called(piece(None, "f"))]) == b""
    assert joined(stream.feed([called(piece("}"))]), "partial_json") == '{"a":1}'


def test_a_call_without_arguments_needs_no_delta() -> None:
    raw = streamed([called(piece("", "f")), called(piece("{}", "g", None, 1)), finished("tool_calls")])
    assert [block["input"] for block in blocks(raw)] == [{}, {}]
    assert [event["type"] for event in events(raw)].count("content_block_delta") == 1


@pytest.mark.parametrize(
    "waiting",
    [
        [said("x" * 40), said("y" * 40)],
        [said("é" * 40)],
        [called(piece('{"a":"' + "x" * 80, "g", None, 1))],
        [called(piece("{", "g" * 80, None, 1))],
    ],
)
def test_what_waits_is_bounded(waiting: list[ChatChunk]) -> None:
    for room, fault in ((320, True), (500, False)):
        stream = started(held_bytes=room)
        stream.feed([called(piece("{", "f")), *waiting])
        assert (stream.fault is not None) is fault


@pytest.mark.parametrize(
    "chunks",
    [
        [said(" ")],
        [called(piece(" ", "f"))],
        [called(piece(None, "ab"))],
    ],
)
def test_what_cannot_be_shown_yet_is_bounded(chunks: list[ChatChunk]) -> None:
    stream = started(held_bytes=50)
    for _ in range(60):
        stream.feed(chunks)
    assert stream.fault is not None
    assert stream.fault.message == "The engine's answer holds back more than this server keeps."


def test_very_many_empty_calls_are_bounded() -> None:
    stream = started(held_bytes=10_000)
    stream.feed([called(piece("", "f", None, n)) for n in range(100)])
    assert stream.fault is not None


def test_room_comes_back_when_what_waited_flows_out() -> None:
    stream = started(held_bytes=700)
    for n in range(50):
        stream.feed([called(piece("{", "f", None, 2 * n)), said("\n"), said("x" * 50)])
        stream.feed([called(piece("{", "g", None, 2 * n + 1)), called(piece("}", index=2 * n))])
        stream.feed([called(piece("}", index=2 * n + 1)), said(" "), said("y")])
    assert stream.fault is None


def test_only_one_call_where_only_one_was_asked_for() -> None:
    three = called(piece("{}", "f"), piece("{}", "g", "x", 1), piece("junk", index=2))
    chunks = [three, called(piece("", index=1))]
    stream = started(parallel=False)
    stream.feed([*chunks, said("z"), finished("tool_calls")])
    stream.end()
    assert (stream.undelivered_calls, len(stream.calls), stream.stop_reason) == (2, 1, "tool_use")
