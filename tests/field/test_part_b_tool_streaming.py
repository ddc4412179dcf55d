"""Tool streaming as it failed for others: one test per field case, its number in the name."""

from __future__ import annotations

import json
import re

import pytest

from dragoman.errors import EngineFaultError
from dragoman.translate.grammar import EventKind
from dragoman.translate.ids import call_id_in
from dragoman.translate.stream import MessageStream
from dragoman.wire.openai import ChatChunk
from tests.support.answers import (
    blocks,
    called,
    completion,
    counted,
    ends,
    events,
    finished,
    joined,
    kinds,
    of_type,
    options,
    piece,
    read,
    said,
    seal,
    streamed,
    whole,
)

END = finished("tool_calls")
NAME = "get_weather"


def test_b22_text_for_an_open_call_gets_a_block_of_its_own() -> None:
    raw = streamed([called(piece('{"a":', NAME, "c")), said("\n"), said("done"), called(piece("1}")), END])
    assert [block.get("input", block.get("text")) for block in blocks(raw)] == [{"a": 1}, "\ndone"]
    assert kinds(raw)[-1] == "message_stop"


def test_b23_thinking_for_an_open_call_gets_a_block_of_its_own() -> None:
    raw = streamed([called(piece('{"a":', NAME, "c")), said(reasoning="Hm."), called(piece("1}")), END])
    assert of_type(blocks(raw)) == ["tool_use", "thinking"]
    assert kinds(raw)[-1] == "message_stop"


def test_b24_an_id_on_every_piece_is_still_one_call() -> None:
    chunks = [called(piece(text, NAME, "c")) for text in ("", '{"a"', ":", "1", "}")]
    found = blocks(streamed([*chunks, END]))
    assert [block["input"] for block in found] == [{"a": 1}]


def test_b25_arguments_in_the_first_piece_are_kept() -> None:
    raw = streamed([called(piece('{"a":', NAME, "c")), called(piece("1}")), END])
    assert joined(raw, "partial_json") == '{"a":1}'


def test_b26_arguments_and_text_in_one_chunk_are_both_kept() -> None:
    chunks = [said("x", tool_calls=[piece('{"a":', NAME, "c")]), said("y", tool_calls=[piece("1}")]), END]
    found = blocks(streamed(chunks))
    assert [block.get("input", block.get("text")) for block in found] == ["x", {"a": 1}, "y"]


def test_b26_text_that_waits_at_the_end_is_kept_without_a_usage_chunk() -> None:
    found = blocks(streamed([called(piece("", NAME, "c")), said("waits"), END]))
    assert [block.get("input", block.get("text")) for block in found] == [{}, "waits"]


def test_b27_pieces_of_a_call_that_is_not_open_are_kept() -> None:
    chunks = [
        called(piece('{"a":', "f", "c0", 0)),
        called(piece('{"b":', "g", "c1", 1)),
        called(piece("0", index=0)),
        called(piece("1}", index=1)),
        called(piece("}", index=0)),
        END,
    ]
    assert [(block["name"], block["input"]) for block in blocks(streamed(chunks))] == [
        ("f", {"a": 0}),
        ("g", {"b": 1}),
    ]


def test_b28_a_piece_goes_to_the_call_of_its_index_and_not_to_the_newest() -> None:
    chunks = [
        called(piece('{"a":"', "f", "c0", 0), piece('{"b":"', "g", "c1", 1)),
        *(called(piece("x", index=0), piece("y", index=1)) for _ in range(3)),
        called(piece('"}', index=0), piece('"}', index=1)),
        END,
    ]
    assert [block["input"] for block in blocks(streamed(chunks))] == [{"a": "xxx"}, {"b": "yyy"}]


@pytest.mark.parametrize("indexes", [(0, 1, 2), (0, 0, 0), (None, None, None)])
def test_b29_several_complete_calls_in_one_chunk_are_all_kept(indexes: tuple[int | None, ...]) -> None:
    calls = [piece(f'{{"n":{n}}}', NAME, f"c{n}", index) for n, index in enumerate(indexes)]
    raw = streamed([called(*calls), END])
    assert [block["input"] for block in blocks(raw)] == [{"n": 0}, {"n": 1}, {"n": 2}]


def test_b30_nothing_is_sent_to_a_block_that_is_closed() -> None:
    stream = MessageStream(options(), seal)
    stream.start(1)
    stream.feed([called(piece("{}", "f", "c0", 0)), called(piece("{", "g", "c1", 1))])
    raw = stream.feed([called(piece('"late":1', index=0))])
    assert [event["type"] for event in events(raw)] == ["error"]
    assert isinstance(stream.fault, EngineFaultError)


def test_b31_thinking_directly_before_a_call_has_its_own_index() -> None:
    raw = streamed([said(reasoning="Hm."), called(piece("{}", NAME, "c")), END])
    starts = [event["index"] for event in events(raw) if event["type"] == "content_block_start"]
    assert starts == [0, 1]
    assert of_type(blocks(raw)) == ["thinking", "tool_use"]


def test_b32_text_is_stopped_before_thinking_starts() -> None:
    raw = streamed([said("Hi"), said(reasoning="Hm."), said("Ho"), finished()])
    assert of_type(blocks(raw)) == ["text", "thinking", "text"]
    assert kinds(raw).count(EventKind.BLOCK_STOP) == 3


def test_b33_white_space_between_thinking_and_a_call_is_no_block_streamed_or_whole() -> None:
    raw = streamed([said(reasoning="Hm."), said("\n\n"), called(piece("{}", NAME, "c")), END, counted()])
    answer = completion(
        "\n\n",
        reasoning="Hm.",
        tool_calls=[piece("{}", NAME, "c")],
        reason="tool_calls",
        usage=counted().usage,
    )
    assert of_type(blocks(raw)) == ["thinking", "tool_use"]
    assert read(raw) == whole(answer)


def test_b34_no_markup_is_made_or_guessed_here() -> None:
    """Calls are parsed by the engine: nothing of its markup reaches us as text beside a call.

    Where an engine runs without its parser, the markup is text that the model wrote: it arrives as such, and
    the stop reason does not claim a call.
    """
    beside = streamed([said(reasoning="Hm."), called(piece("{}", NAME, "c")), END])
    assert b"<tool_call>" not in beside
    assert b"</think>" not in beside
    unparsed = streamed([said('<tool_call>{"name":'), said(' "f"}</tool_call>'), finished()])
    assert joined(unparsed, "text") == '<tool_call>{"name": "f"}</tool_call>'
    assert ends(unparsed) == ("end_turn", None)


def test_b35_what_follows_a_call_is_kept() -> None:
    raw = streamed([called(piece("{}", NAME, "c")), said("and "), said("more"), finished()])
    assert joined(raw, "text") == "and more"


@pytest.mark.parametrize("arguments", [None, ""])
def test_b36_a_call_without_arguments_has_an_empty_object(arguments: str | None) -> None:
    raw = streamed([called(piece(arguments, NAME, "c")), END])
    assert "input_json_delta" not in kinds(raw)
    assert blocks(raw)[0]["input"] == {}


def test_b37_the_start_of_a_call_has_its_input() -> None:
    raw = streamed([called(piece("{}", NAME, "c")), called(piece("{}", NAME, "d", 1)), END])
    starts = [event["content_block"] for event in events(raw) if event["type"] == "content_block_start"]
    assert [start["input"] for start in starts] == [{}, {}]


def test_b37_a_block_is_closed_before_the_next_one_opens() -> None:
    stream = MessageStream(options(), seal)
    stream.start(1)
    raw = stream.feed([called(piece("{}", NAME, "c")), called(piece("{", NAME, "d", 1))])
    assert [event["type"] for event in events(raw)][-3:] == [
        "content_block_stop",
        "content_block_start",
        "content_block_delta",
    ]


def test_b38_arguments_stream_as_they_come() -> None:
    stream = MessageStream(options(), seal)
    stream.start(1)
    parts = ['{"path":', '"/a",', '"content":"', "one ", "two", '"}']
    first, *rest = parts
    sent = [stream.feed([called(piece(first, NAME, "c"))]), *(stream.feed([called(piece(p))]) for p in rest)]
    assert [joined(out, "partial_json") for out in sent] == parts


def test_b39_a_call_written_inside_thinking_is_kept_as_thinking() -> None:
    """Only the engine's parser can make a call of it; here it must at least not vanish."""
    text = '<tool_call>{"name": "f"}</tool_call>'
    raw = streamed([said(reasoning="So: "), said(reasoning=text), finished()], display="summarized")
    assert joined(raw, "thinking") == f"So: {text}"


def test_b40_an_empty_list_of_calls_is_nothing() -> None:
    raw = streamed([said("a", tool_calls=[]), said("b", tool_calls=[]), finished(tool_calls=[])])
    assert of_type(blocks(raw)) == ["text"]
    assert b"input_json_delta" not in raw


def test_b41_arguments_before_their_call_is_named_are_kept() -> None:
    raw = streamed([called(piece('{"a":')), called(piece(None, NAME, "c")), called(piece("1}")), END])
    assert blocks(raw)[0]["input"] == {"a": 1}


@pytest.mark.parametrize("engine_id", ["functions.get_weather:0", "call_0", "chatcmpl-tool-1", "ü/1", ""])
def test_b42_ids_are_legal_and_come_home(engine_id: str) -> None:
    ours = blocks(streamed([called(piece("{}", NAME, engine_id)), END]))[0]["id"]
    assert re.fullmatch(r"toolu_[a-zA-Z0-9_-]+", ours)
    assert call_id_in(ours) == (engine_id or ours)


@pytest.mark.parametrize("arguments", ["[1]", '"x"', "null", "{'a': 1}", '{"a": 1', "a: 1", '{"a": 1}}'])
def test_b43_arguments_that_are_no_object_are_refused_and_not_guessed(arguments: str) -> None:
    chunks: list[ChatChunk] = [called(piece(arguments, NAME, "c")), END]
    assert events(streamed(chunks))[-1]["error"]["type"] == "api_error"
    with pytest.raises(EngineFaultError):
        whole(completion(tool_calls=[piece(arguments, NAME, "c")], reason="tool_calls"))


def test_b43_what_the_client_gets_is_always_json() -> None:
    text = '{"q": "\\"quoted\\" \\\\ \\u00e9 \\ud83d\\ude00\\n"}'
    raw = streamed([called(piece(char, NAME, "c")) for char in text] + [END])
    assert json.loads(joined(raw, "partial_json")) == blocks(raw)[0]["input"] == {"q": '"quoted" \\ é 😀\n'}
