"""Answers put together from events: what is shown, and what goes back."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from dragoman.cli.chat.answer import Answer, BlockEnd, Call, CallBegun, Shown, Thought, Words
from tests.unit.cli.chat.conftest import START, block, end, text


def taken(*events: dict[str, Any]) -> tuple[Answer, list[Shown]]:
    """An answer after these events, and what it showed."""
    answer = Answer()
    shown = [answer.take(msgspec.json.encode(event)) for event in events]
    return answer, [piece for piece in shown if piece is not None]


def call(index: int = 0, *pieces: str, kind: str = "tool_use", **more: Any) -> list[dict[str, Any]]:
    """The events of a call."""
    start = {"type": kind, "id": f"id{index}", "name": "look", "input": {}, **more}
    return block(index, start, *({"type": "input_json_delta", "partial_json": piece} for piece in pieces))


def back(answer: Answer) -> Any:
    """The content as the next request holds it."""
    return msgspec.json.decode(msgspec.json.encode(answer.content()))


def thinking(index: int = 0, signature: str = "sig") -> list[dict[str, Any]]:
    """The events of a thinking block."""
    deltas = [{"type": "thinking_delta", "thinking": "I "}, {"type": "thinking_delta", "thinking": "think."}]
    if signature:
        deltas.append({"type": "signature_delta", "signature": signature})
    return block(index, {"type": "thinking", "thinking": "", "signature": "early"}, *deltas)


def test_thinking_text_and_calls_go_back_as_they_came() -> None:
    answer, shown = taken(START, *thinking(), *text("Yes.", 1), *call(2, '{"a": ', "1.0}"), *end("tool_use"))
    assert shown == [
        Thought("I "),
        Thought("think."),
        BlockEnd("thinking"),
        Words("Yes."),
        BlockEnd("text"),
        CallBegun("look"),
        Call("id2", "look", '{"a": 1.0}'),
    ]
    assert back(answer) == [
        {"type": "thinking", "thinking": "I think.", "signature": "sig"},
        {"type": "text", "text": "Yes."},
        {"type": "tool_use", "id": "id2", "name": "look", "input": {"a": 1.0}},
    ]
    assert b'"input":{"a": 1.0}' in msgspec.json.encode(answer.content())
    assert (answer.stop_reason, answer.is_complete) == ("tool_use", True)
    assert answer.usage == {"input_tokens": 7, "output_tokens": 3}


def test_a_call_without_arguments_is_an_empty_object() -> None:
    answer, shown = taken(START, *call(), *end("tool_use"))
    assert shown[-1] == Call("id0", "look", "{}")
    assert back(answer)[0]["input"] == {}


def test_arguments_that_came_with_the_start_are_kept() -> None:
    answer, shown = taken(START, *call(0, input={"q": 1}), *end("tool_use"))
    assert shown[-1] == Call("id0", "look", '{"q":1}')
    assert back(answer)[0]["input"] == {"q": 1}


def test_unknown_blocks_and_members_are_kept_and_not_shown() -> None:
    odd = {"type": "hologram", "depth": [1, {"a": None}], "note": "be"}
    answer, shown = taken(
        START,
        {"type": "weather_report", "index": 9},
        *block(0, odd, {"type": "hologram_delta", "note": "gins", "more": 2}),
        *text("Hm."),
        *end(),
    )
    answer_of_two, _ = taken(
        START, *block(0, odd, {"type": "hologram_delta", "note": "gins", "more": 2}), *text("Hm.", 1)
    )
    assert shown[0] == BlockEnd("hologram")
    assert back(answer_of_two) == [{**odd, "note": "begins", "more": 2}, {"type": "text", "text": "Hm."}]
    assert answer.is_complete


def test_citations_are_gathered() -> None:
    deltas = [{"type": "citations_delta", "citation": {"n": n}} for n in (1, 2)]
    start = {"type": "text", "text": "As I read.", "citations": None}
    answer, shown = taken(START, *block(0, start, *deltas), *end())
    assert shown[0] == Words("As I read.")
    assert back(answer)[0]["citations"] == [{"n": 1}, {"n": 2}]


def test_calls_that_a_server_runs_are_shown_and_expect_nothing_here() -> None:
    answer, shown = taken(START, *call(0, '{"q":"x"}', kind="server_tool_use"), *end("pause_turn"))
    assert shown[-1] == Call("id0", "look", '{"q":"x"}', here=False)
    assert answer.calls() == []
    assert back(answer)[0]["type"] == "server_tool_use"


def test_a_call_that_was_cut_does_not_go_back_and_expects_nothing() -> None:
    answer, shown = taken(START, *text("So."), *call(1, '{"a": "be'), *end("max_tokens"))
    cut = shown[-1]
    assert isinstance(cut, Call)
    assert not cut.is_whole
    assert answer.calls() == []
    assert back(answer) == [{"type": "text", "text": "So."}]


def test_a_call_with_arguments_that_are_no_object_is_none() -> None:
    answer, _ = taken(START, *call(0, "[1]"), *end("tool_use"))
    assert answer.calls() == []


@pytest.mark.parametrize("length", [2, 3, 4])
def test_of_an_answer_that_stopped_half_way_the_words_stay(length: int) -> None:
    events = [START, *text("Half a"), *call(1, '{"a":1}')][: length + 1]
    answer, _ = taken(*events)
    assert back(answer) == [{"type": "text", "text": "Half a"}]
    assert answer.calls() == []
    assert not answer.is_complete


def test_thinking_that_nothing_follows_does_not_go_back() -> None:
    redacted = block(1, {"type": "redacted_thinking", "data": "x"})
    answer, _ = taken(START, *thinking(), *redacted, *end("max_tokens"))
    assert back(answer) == []
    assert [piece["type"] for piece in back(taken(START, *thinking(), *text("So.", 1))[0])] == [
        "thinking",
        "text",
    ]


def test_empty_text_does_not_go_back() -> None:
    assert back(taken(START, *text(""), *end())[0]) == []


def test_events_of_blocks_that_never_began_are_ignored() -> None:
    stray = text("lost", 5)[1:]
    answer, shown = taken(START, *stray, {"type": "ping"}, *end())
    assert (shown, back(answer)) == ([], [])


def test_what_is_no_event_is_refused() -> None:
    with pytest.raises(msgspec.DecodeError):
        Answer().take(b"[1]")


DEEP = b"[" * 100_000 + b"]" * 100_000


@pytest.mark.parametrize(
    "data",
    [b'{"type":"\xff"}', b'{"type":"message_start","message":{"usage":%b}}' % DEEP, b"{"],
    ids=["no text", "too deep", "no json"],
)
def test_what_cannot_be_read_is_no_trace(data: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        Answer().take(data)


def test_arguments_that_are_too_deep_are_no_call() -> None:
    answer, shown = taken(START, *call(0, '{"a":', DEEP.decode(), "}"), *end("tool_use"))
    assert isinstance(shown[-1], Call)
    assert not shown[-1].is_whole
    assert answer.calls() == []


@pytest.mark.parametrize(
    "event",
    [
        {"type": "x_custom", "message": "hi", "delta": "foo", "index": None},
        {"type": "ping", "message": None},
        {"type": ["list"], "index": "one"},
        {"note": "no type", "usage": 5},
    ],
    ids=str,
)
def test_events_of_unknown_kinds_are_skipped_whatever_they_hold(event: dict[str, Any]) -> None:
    answer, shown = taken(START, event, *text("Yes."), event, *end())
    assert (shown[0], back(answer)) == (Words("Yes."), [{"type": "text", "text": "Yes."}])


def test_members_that_a_kind_of_event_does_not_have_are_no_matter() -> None:
    odd = {"message": "hi", "delta": "foo", "usage": 5}
    answer, _ = taken(START, *text("Yes."), *({**event, **odd} for event in end()[1:]))
    assert answer.is_complete


@pytest.mark.parametrize("reason", ["max_tokens", "model_context_window_exceeded"])
def test_a_call_that_was_cut_before_its_arguments_is_none(reason: str) -> None:
    answer, _ = taken(START, *call(0, "{}"), *call(1), *end(reason))
    assert [found.id for found in answer.calls()] == ["id0"]
    assert [piece["id"] for piece in back(answer)] == ["id0"]


def test_a_call_without_arguments_that_was_followed_by_more_is_whole() -> None:
    answer, _ = taken(START, *call(0), *call(1, input={"q": 1}), *end("max_tokens"))
    assert [found.id for found in answer.calls()] == ["id0", "id1"]
