"""Conversations: roles, text, merging, prefill."""

from __future__ import annotations

from typing import Any

import pytest

from dragoman.errors import InvalidRequestError
from tests.support.translation import (
    able_but,
    assistant,
    call,
    chat,
    image,
    plain,
    result,
    system,
    text,
    thinking,
    tool,
    translated,
    user,
)


def test_a_string_is_one_user_message() -> None:
    assert plain(chat(user("hi"))) == [{"role": "user", "content": "hi"}]


def test_user_blocks_join_with_one_newline_and_assistant_blocks_with_nothing() -> None:
    turns = [user(text("a"), text("b")), assistant(text("c"), text("d")), user("e")]
    assert [message.content for message in chat(*turns)] == ["a\nb", "cd", "e"]


def test_empty_text_blocks_are_tolerated_and_leave_no_trace() -> None:
    assert chat(user(text("a"), text(""), text("b"))) == chat(user("a\nb"))


@pytest.mark.parametrize("content", ["", [], [text("")]])
def test_an_empty_turn_keeps_its_place(content: Any) -> None:
    turns = [user("a"), {"role": "assistant", "content": content}, {"role": "user", "content": content}]
    assert plain(chat(*turns)) == [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": ""},
        {"role": "user", "content": ""},
    ]


def test_consecutive_turns_of_a_role_are_one_turn() -> None:
    turns = [user("a"), user(text("b")), assistant("c"), assistant("d"), user("e")]
    assert chat(*turns) == chat(user(text("a"), text("b")), assistant(text("c"), text("d")), user("e"))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (user("a"), user(text("a"))),
        (user(text("a", cache_control={"type": "ephemeral", "ttl": "1h"})), user(text("a"))),
        (user({"text": "a", "type": "text"}), user({"type": "text", "text": "a", "x_extra": 1})),
        (user(text("a", citations=None)), user("a")),
    ],
)
def test_spellings_of_one_turn_are_one_message(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert chat(one) == chat(other)


def test_a_conversation_without_any_content_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match=r"^messages: at least one"):
        chat(assistant(""))


# --- blocks where they cannot stand ---


@pytest.mark.parametrize(
    ("turns", "path", "kind"),
    [
        ([user(thinking("t"))], "messages.0.content.0", "thinking"),
        (
            [user("a"), user({"type": "redacted_thinking", "data": ""})],
            "messages.1.content.0",
            "redacted",
        ),
        ([user(text("a"), call())], "messages.0.content.1", "tool_use"),
        ([user("a"), assistant(result())], "messages.1.content.0", "tool_result"),
        ([user("a"), assistant(text("b"), image())], "messages.1.content.1", "image"),
        ([user("a"), system(text("b"), image())], "messages.1.content.1", "image"),
        ([user("a"), system(result())], "messages.1.content.0", "tool_result"),
    ],
)
def test_a_block_in_the_wrong_role_is_refused_by_path(turns: Any, path: str, kind: str) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        chat(*turns)
    assert refused.value.message.startswith(f"{path}: {kind}")
    assert "not allowed in" in refused.value.message


UNAVAILABLE: list[dict[str, Any]] = [
    {"type": "container_upload", "file_id": "file_a"},
]


@pytest.mark.parametrize("block", UNAVAILABLE, ids=lambda block: block["type"])
@pytest.mark.parametrize("role", ["user", "assistant", "system"])
def test_a_block_that_cannot_reach_the_model_is_refused_by_path_and_type(
    block: dict[str, Any], role: str
) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        chat(user("a"), {"role": role, "content": [text("b"), block]})
    expected = f"messages.1.content.1: {block['type']} blocks are not available"
    assert refused.value.message.startswith(expected)


@pytest.mark.parametrize("role", ["user", "assistant"])
def test_fallback_marks_are_dropped_and_counted(role: str) -> None:
    mark = {"type": "fallback", "from": {"model": "a"}, "to": {"model": "b"}}
    with_mark = translated(messages=[user("a"), {"role": role, "content": [mark, text("b"), mark]}])
    without = translated(messages=[user("a"), {"role": role, "content": [text("b")]}])
    assert with_mark.chat.messages == without.chat.messages
    assert with_mark.notes == ("fallback blocks dropped, they only mark a change of model: 2",)


# --- a final assistant turn ---


def test_a_final_assistant_turn_is_continued() -> None:
    translation = translated(messages=[user("a"), assistant("The answer is")])
    assert translation.chat.continue_final
    assert translation.chat.messages[-1].content == "The answer is"


def test_a_final_assistant_turn_may_begin_with_thinking() -> None:
    last = chat(user("a"), assistant(thinking("hm"), text("So")))[-1]
    assert (last.reasoning, last.content) == ("hm", "So")


@pytest.mark.parametrize("content", ["", [], [text("")]])
def test_an_empty_final_assistant_turn_is_no_prefill(content: Any) -> None:
    translation = translated(messages=[user("a"), {"role": "assistant", "content": content}])
    assert plain(translation.chat.messages) == [{"role": "user", "content": "a"}]
    assert not translation.chat.continue_final


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([text("So ")], "final assistant content cannot end with trailing whitespace"),
        ([text(" \n")], "final assistant content cannot end with trailing whitespace"),
        ([text("a"), text("\n")], "final assistant content cannot end with trailing whitespace"),
        ([text("a"), thinking("hm")], "The final block in an assistant message cannot be `thinking`."),
        ([thinking("hm"), text("")], "The final block in an assistant message cannot be `thinking`."),
        ([text("a"), call("toolu_x")], "`tool_use` ids were found without `tool_result`"),
    ],
)
def test_a_final_assistant_turn_that_cannot_be_continued_is_refused(content: Any, words: str) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        translated(messages=[user("a"), assistant(*content)], tools=[tool()])
    assert refused.value.message.startswith(f"messages.1: {words}")


def test_an_engine_that_cannot_continue_is_named() -> None:
    with pytest.raises(InvalidRequestError, match=r"^messages.1: the engine .*'served'.* cannot continue"):
        chat(user("a"), assistant("So"), capabilities=able_but(continuation=False))


def test_without_a_prefill_nothing_is_continued() -> None:
    assert not translated(messages=[user("a"), assistant("b "), user("c")]).chat.continue_final
