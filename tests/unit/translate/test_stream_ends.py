"""One answer as a stream: how it ends, well or not."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest
from anthropic.lib.streaming import _beta_messages

from dragoman.errors import ApiError, EngineFaultError, OverloadedError
from dragoman.translate.grammar import GrammarError
from dragoman.translate.stream import MessageStream
from dragoman.wire.anthropic.response import AppliedEdits
from dragoman.wire.openai import ChatChunk, ToolCallDelta
from tests.support.answers import (
    blocks,
    called,
    counted,
    ends,
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


# ---------------------------------------------------------------------------------------------


def test_a_call_that_was_cut_streams_as_far_as_it_came() -> None:
    text = '{"path":"/a","lines":[1,2],"content":"half of i'
    raw = streamed([called(piece(text, "write")), finished("length")])
    assert joined(raw, "partial_json") == text
    assert blocks(raw)[0]["input"] == {"path": "/a", "lines": [1, 2]}
    assert ends(raw) == ("max_tokens", None)


@pytest.mark.parametrize("head", [[], [called(piece("{}", "f")), called(piece(None, "g", None, 1))]])
def test_a_number_that_was_cut_is_not_read_as_another_one(head: list[ChatChunk]) -> None:
    chunks = [called(piece(text, "write", None, 2)) for text in ('{"path":"/a","timeout":1', "2")]
    raw = streamed([*head, *chunks, finished("length")])
    assert blocks(raw)[-1]["input"] == {"path": "/a"}
    assert joined(raw, "partial_json").endswith('{"path":"/a","timeout":')


def test_calls_that_wait_when_the_answer_is_cut_are_shown_too() -> None:
    chunks = [called(piece('{"a":1', "f"), piece("{}", "g", None, 1), piece("", "h", None, 2)), said("z")]
    stream = started()
    raw = stream.feed([*chunks, finished("length")]) + stream.end()
    assert [call[1] for call in stream.calls] == ["{}"]
    assert joined(raw, "text") == "z"
    assert [event["content_block"].get("name") for event in events(raw) if "content_block" in event] == [
        "f", "g", "h", None,
    ]  # fmt: skip


def test_a_call_cut_before_its_name_is_not_shown() -> None:
    chunks = [called(ToolCallDelta(0, "c")), finished("length")]
    assert of_type(blocks(streamed([said("a"), *chunks]))) == ["text"]
    assert of_type(blocks(streamed(chunks))) == ["text"]


def test_a_matched_string_is_told_and_a_token_is_not() -> None:
    assert ends(streamed([said("x"), finished("stop", "END")])) == ("stop_sequence", "END")
    assert ends(streamed([said("x"), finished("stop", 128009)])) == ("end_turn", None)
    assert ends(streamed([said("x"), finished("stop", "")])) == ("end_turn", None)


def test_no_tokens_asked_for_is_no_content() -> None:
    raw = streamed([said("x", reasoning="y"), finished("length"), counted(10, 1)], max_tokens=0)
    message = read(raw)
    assert (message["content"], message["stop_reason"]) == ([], "max_tokens")
    assert (message["usage"]["input_tokens"], message["usage"]["output_tokens"]) == (10, 0)


def test_the_last_usage_counts() -> None:
    raw = streamed([counted(10, 1), said("x"), counted(10, 2), finished(), counted(11, 3)])
    assert read(raw)["usage"]["input_tokens"] == 11
    assert read(raw)["usage"]["output_tokens"] == 3


def test_without_usage_the_start_stands_and_the_output_is_estimated() -> None:
    usage = read(streamed([said("x" * 10), finished()]))["usage"]
    assert (usage["input_tokens"], usage["output_tokens"]) == (7, 3)


def test_context_management_is_answered_when_asked() -> None:
    raw = streamed([said("x"), finished()], context_management=AppliedEdits())
    snapshot: Any = None
    for event in events(raw):
        snapshot = _beta_messages.accumulate_event(
            event=event,  # type: ignore[arg-type]  # the accumulator takes decoded JSON as well
            current_snapshot=snapshot,
            json_bufs={},
            request_headers=httpx2.Headers(),
        )
    assert snapshot.context_management.applied_edits == []
    assert b"context_management" not in streamed([said("x"), finished()])


@pytest.mark.parametrize(
    ("chunks", "words"),
    [
        ([], "ended before it was complete"),
        ([said("x")], "ended before it was complete"),
        ([said("x"), finished("abort")], "broke off"),
        ([called(piece('{"a":', "f")), finished()], "inside the arguments"),
        ([called(piece("{} and more", "f")), finished()], "not a JSON object"),
        ([called(piece("{}", "f")), said("x"), called(piece("{}")), finished()], "not a JSON object"),
        ([called(piece("{}", "f")), called(piece(" ", "g")), finished()], "changed the name"),
        ([called(piece("{}")), finished()], "without a name"),
        ([called(piece('{"a":')), finished("length")], "without a name"),
        ([called(piece("{", "f"), piece("{", "g", None, 1)), finished()], "inside the arguments"),
        ([said("x"), finished("")], "ended before it was complete"),
        ([said("\ud83d"), finished()], "not Unicode"),
        ([called(piece("{", "f", "\ude00")), finished("length")], "not Unicode"),
        ([called(piece("", "\ude00")), finished()], "not Unicode"),
    ],
)
def test_what_is_no_answer_ends_in_one_error(chunks: list[ChatChunk], words: str) -> None:
    stream = started()
    raw = stream.feed(chunks) + stream.end()
    assert events(raw)[-1]["type"] == "error"
    assert words in events(raw)[-1]["error"]["message"]
    assert [event["type"] for event in events(raw)].count("error") == 1
    assert isinstance(stream.fault, EngineFaultError)
    assert stream.finished
    assert stream.feed([said("x")]) == stream.end() == stream.fail(ApiError("x")) == stream.ping() == b""


def test_an_empty_finish_reason_is_none() -> None:
    raw = streamed([finished("", content="a"), finished("", content="b"), finished("stop"), finished("")])
    assert (joined(raw, "text"), *ends(raw)) == ("ab", "end_turn", None)


def test_what_came_before_the_fault_in_the_same_read_is_sent() -> None:
    out = started().feed([said("good"), finished("abort")])
    assert joined(out, "text") == "good"
    assert events(out)[-1]["type"] == "error"


def test_a_failure_is_one_event_in_the_envelope() -> None:
    stream = started()
    stream.feed([said("x")])
    raw = stream.fail(OverloadedError("Shutting down.", error_code="going_away"))
    assert events(raw) == [
        {
            "type": "error",
            "error": {
                "type": "overloaded_error",
                "message": "Shutting down.",
                "details": {"error_code": "going_away"},
            },
            "request_id": "req_01",
        }
    ]
    assert stream.fault is None
    assert stream.finished


def test_it_can_fail_before_it_starts() -> None:
    assert MessageStream(options(), seal).fail(ApiError("x")).startswith(b"event: error\n")


def test_pings_come_only_between_start_and_end() -> None:
    stream = MessageStream(options(), seal)
    assert stream.ping() == b""
    stream.start(1)
    for chunk in (said(reasoning="a"), said("b"), called(piece("{", "f")), called(piece("}")), finished()):
        stream.feed([chunk])
        assert stream.ping() == b'event: ping\ndata: {"type": "ping"}\n\n'
    stream.end()
    assert stream.ping() == b""


def test_content_has_started_with_the_first_block() -> None:
    stream = started()
    stream.feed([said(""), said("\n"), called(piece("", "f"))])
    before = stream.started_content
    stream.feed([called(piece("{"))])
    assert (before, stream.started_content) == (False, True)
    assert stream.stop_reason is None
    assert stream.usage is None


def test_input_is_never_zero_at_the_start() -> None:
    assert b'"input_tokens":1,' in MessageStream(options(), seal).start(0)


def test_events_out_of_order_are_our_own_fault() -> None:
    stream = MessageStream(options(), seal)
    raw = stream.feed([said("x")])
    assert isinstance(stream.fault, GrammarError)
    assert [event["type"] for event in events(raw)] == ["error"]
    with pytest.raises(GrammarError):
        started().start(1)
