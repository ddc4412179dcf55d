"""Context management and threads on the wire."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from dragoman.errors import InvalidRequestError
from dragoman.wire.anthropic.codec import decode_count, decode_messages, unknown_fields
from dragoman.wire.anthropic.context import (
    AllThinkingTurns,
    ClearThinking,
    ClearToolUses,
    Compact,
    ContextManagement,
    InputTokens,
    ThinkingTurns,
    ThreadContinue,
    ThreadCreate,
    ToolUses,
    UnknownEdit,
)


def body(**fields: Any) -> bytes:
    return msgspec.json.encode(
        {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "Hi"}], **fields}
    )


def edited(*edits: object, **fields: Any) -> bytes:
    return body(context_management={"edits": edits}, **fields)


def refusal(given: bytes) -> str:
    with pytest.raises(InvalidRequestError) as caught:
        decode_messages(given)
    return caught.value.message


@pytest.mark.parametrize(
    ("edit", "value"),
    [
        ({"type": "clear_tool_uses_20250919"}, ClearToolUses()),
        (
            {
                "type": "clear_tool_uses_20250919",
                "trigger": {"type": "tool_uses", "value": 9},
                "keep": {"type": "tool_uses", "value": 0},
                "clear_at_least": {"type": "input_tokens", "value": 5},
                "clear_tool_inputs": ["a"],
                "exclude_tools": ["b"],
            },
            ClearToolUses(
                trigger=ToolUses(9),
                keep=ToolUses(0),
                clear_at_least=InputTokens(5),
                clear_tool_inputs=["a"],
                exclude_tools=["b"],
            ),
        ),
        (
            {"type": "clear_tool_uses_20250919", "clear_tool_inputs": True, "clear_at_least": None},
            ClearToolUses(clear_tool_inputs=True),
        ),
        ({"type": "clear_thinking_20251015"}, ClearThinking()),
        ({"type": "clear_thinking_20251015", "keep": "all"}, ClearThinking(keep="all")),
        (
            {"type": "clear_thinking_20251015", "keep": {"type": "all"}},
            ClearThinking(keep=AllThinkingTurns()),
        ),
        (
            {"type": "clear_thinking_20251015", "keep": {"type": "thinking_turns", "value": 2}},
            ClearThinking(keep=ThinkingTurns(2)),
        ),
        ({"type": "compact_20260112", "instructions": "short"}, Compact(instructions="short")),
    ],
)
def test_an_edit_is_typed(edit: dict[str, Any], value: object) -> None:
    for decode in (decode_messages, decode_count):
        assert decode(edited(edit)).context_management == ContextManagement(edits=[value])  # type: ignore[list-item]  # one of the edits
    assert unknown_fields(edited(edit)) == []


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ({"keep": 1}, "edits.0.type: Field required"),
        ({"type": 7}, "edits.0.type: Input should be a string"),
        (
            {"type": "clear_thinking_20251015", "keep": {"type": "thinking_turns", "value": 0}},
            "edits.0.keep.value: Input should be greater than or equal to 1",
        ),
        (
            {"type": "clear_thinking_20251015", "keep": "most"},
            "edits.0.keep: Input should be 'all', not 'most'",
        ),
        (
            {"type": "clear_tool_uses_20250919", "trigger": {"type": "words", "value": 1}},
            "edits.0.trigger.type: Input should be 'input_tokens' or 'tool_uses', not 'words'",
        ),
        (
            {"type": "clear_tool_uses_20250919", "keep": {"type": "tool_uses", "value": -1}},
            "edits.0.keep.value: Input should be greater than or equal to 0",
        ),
    ],
)
def test_a_wrong_edit_is_refused_with_its_path(edit: dict[str, Any], message: str) -> None:
    assert refusal(edited(edit)) == f"context_management.{message}"


def test_an_edit_of_an_unknown_type_is_no_failure() -> None:
    given = edited(
        {"type": "clear_all_20270101", "keep": [1]}, {"type": "compact_20260112"}, {"type": "other"}
    )
    assert decode_messages(given).context_management == ContextManagement(
        edits=[UnknownEdit(name="clear_all_20270101"), Compact(), UnknownEdit(name="other")]
    )
    assert unknown_fields(given) == ["context_management.edits.0", "context_management.edits.2"]


def test_what_is_wrong_beside_an_unknown_edit_is_still_refused() -> None:
    unknown = {"type": "clear_all_20270101"}
    assert refusal(edited(unknown, {"type": ["x"]})).startswith("context_management.edits.1.type: ")
    assert refusal(edited(unknown, max_tokens=-1)).startswith("max_tokens: ")
    assert "not valid JSON" in refusal(edited(unknown)[:-1])
    assert refusal(body(context_management={"edits": 4})).startswith("context_management.edits: ")
    assert unknown_fields(body(context_management=[1])) == []


def test_threads_are_typed() -> None:
    assert decode_messages(body(thread={"type": "create"})).thread == ThreadCreate()
    went_on = {"type": "continue", "previous_message_id": "msg_1"}
    assert decode_messages(body(thread=went_on)).thread == ThreadContinue("msg_1")
    assert (
        refusal(body(thread={"type": "new"}))
        == "thread.type: Input should be 'create' or 'continue', not 'new'"
    )
    assert refusal(body(thread={"type": "continue"})) == "thread.previous_message_id: Field required"


def test_only_a_continued_thread_comes_without_messages() -> None:
    went_on = {"type": "continue", "previous_message_id": "msg_1"}
    assert decode_messages(body(messages=[], thread=went_on)).messages == []
    for thread in (None, {"type": "create"}):
        assert refusal(body(messages=[], thread=thread)) == "messages: Input should have at least 1 item"
