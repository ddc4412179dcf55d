"""One whole answer as a message."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from dragoman.errors import EngineFaultError
from dragoman.translate.response import to_message
from dragoman.wire.anthropic.response import AppliedEdits
from dragoman.wire.openai import ChatAnswer, ChatChoice, ChatCompletion, ChatUsage, ToolCallDelta
from tests.support.answers import completion, options, piece, seal, whole

TWO_CALLS = [piece('{"city":"Oslo"}', "weather", "c1"), piece('{"city":"Rome"}', "weather", "c2")]


def as_json(value: object) -> Any:
    """A value as a client decodes it."""
    return msgspec.json.decode(msgspec.json.encode(value))


def content(answer: ChatCompletion, **changes: Any) -> list[dict[str, Any]]:
    """The blocks of an answer."""
    found: list[dict[str, Any]] = whole(answer, **changes)["content"]
    return found


def test_all_that_an_answer_can_hold() -> None:
    answer = completion(
        "Let me look.", reasoning="Hm.", tool_calls=TWO_CALLS, reason="tool_calls", usage=ChatUsage(10, 5)
    )
    message, calls = to_message(answer, options(display="summarized"), seal)
    assert as_json(message) == {
        "type": "message",
        "id": "msg_01",
        "role": "assistant",
        "model": "claude-test",
        "content": [
            {"type": "thinking", "thinking": "Hm.", "signature": "digest of Hm."},
            {"type": "text", "text": "Let me look.", "citations": None},
            {"type": "tool_use", "id": calls[0][0], "name": "weather", "input": {"city": "Oslo"}},
            {"type": "tool_use", "id": calls[1][0], "name": "weather", "input": {"city": "Rome"}},
        ],
        "stop_reason": "tool_use",
        "stop_sequence": None,
        "stop_details": None,
        "usage": as_json(message.usage),
        "container": None,
        "diagnostics": None,
    }
    assert [arguments for _, arguments in calls] == ['{"city":"Oslo"}', '{"city":"Rome"}']
    assert calls[0][0] != calls[1][0]


@pytest.mark.parametrize("index", [None, 0, 5])
@pytest.mark.parametrize("call_id", [None, "", "same"])
def test_every_entry_is_a_call_whatever_its_index_and_id(index: int | None, call_id: str | None) -> None:
    calls = [piece("{}", "f", call_id, index), piece("{}", "f", call_id, index)]
    found = content(completion(tool_calls=calls))
    assert [block["name"] for block in found] == ["f", "f"]
    assert found[0]["id"] != found[1]["id"]


def test_at_most_one_call_where_only_one_was_asked_for() -> None:
    assert [block["input"] for block in content(completion(tool_calls=TWO_CALLS), parallel=False)] == [
        {"city": "Oslo"}
    ]


@pytest.mark.parametrize("arguments", [None, "", "  "])
def test_no_arguments_are_an_empty_object(arguments: str | None) -> None:
    message, calls = to_message(completion(tool_calls=[piece(arguments, "f", "c")]), options(), seal)
    assert as_json(message.content)[0]["input"] == {}
    assert calls[0][1] == "{}"


def test_a_cut_call_holds_its_complete_members_and_is_not_a_call_to_run() -> None:
    cut = piece('{"path":"/a","content":"half of i', "write", "c")
    message, calls = to_message(completion(tool_calls=[TWO_CALLS[0], cut], reason="length"), options(), seal)
    assert as_json(message.content)[1]["input"] == {"path": "/a"}
    assert message.stop_reason == "max_tokens"
    assert [arguments for _, arguments in calls] == ['{"city":"Oslo"}']


def test_omitted_thinking_travels_in_the_signature() -> None:
    assert content(completion("x", reasoning="Hm."), display="omitted")[0] == {
        "type": "thinking",
        "thinking": "",
        "signature": "text of Hm.",
    }


@pytest.mark.parametrize("said", [None, ""])
def test_nothing_is_one_empty_text_block(said: str | None) -> None:
    assert content(completion(said)) == [{"type": "text", "text": "", "citations": None}]


def test_white_space_alone_is_kept_where_nothing_else_is() -> None:
    assert content(completion("\n\n"))[0]["text"] == "\n\n"
    assert [block["type"] for block in content(completion("\n\n", reasoning="Hm."))] == ["thinking"]


def test_a_refusal_is_text() -> None:
    assert content(completion(refusal="I cannot."))[0]["text"] == "I cannot."


def test_no_tokens_asked_for_is_no_content() -> None:
    message, calls = to_message(
        completion("x", tool_calls=TWO_CALLS, reason="length", usage=ChatUsage(10, 1)),
        options(max_tokens=0),
        seal,
    )
    assert (message.content, message.stop_reason, calls) == ([], "max_tokens", [])
    assert (message.usage.input_tokens, message.usage.output_tokens) == (10, 0)


def test_context_management_is_answered_when_asked() -> None:
    message, _ = to_message(completion("x"), options(context_management=AppliedEdits()), seal)
    assert as_json(message)["context_management"] == {"applied_edits": []}


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (ChatCompletion(), "without content"),
        (ChatCompletion(choices=[ChatChoice(message=ChatAnswer(), index=1)]), "without content"),
        (completion("x", reason=None), "ended before"),
        (completion("x", reason=""), "ended before"),
        (completion("x", reason="abort"), "broke off"),
        (completion(tool_calls=[piece('{"a":', "f", "c")]), "inside the arguments"),
        (completion(tool_calls=[piece("[1]", "f", "c")]), "not a JSON object"),
        (completion(tool_calls=[piece("{}", None, "c")]), "without a name"),
        (completion(tool_calls=[ToolCallDelta(id="c")]), "without a name"),
    ],
)
def test_what_is_no_answer_is_the_engines_fault(answer: ChatCompletion, words: str) -> None:
    with pytest.raises(EngineFaultError, match=words):
        to_message(answer, options(), seal)
