"""Compactions: the summary stands for what was before it."""

from __future__ import annotations

from typing import Any

import pytest

from dragoman.errors import InvalidRequestError
from tests.support.translation import (
    able_but,
    assistant,
    call,
    chat,
    plain,
    result,
    system,
    text,
    tool,
    translated,
    user,
)

SUMMARY = {"type": "compaction", "content": "We met.", "encrypted_content": "SECRET", "signature": "x"}
SHOWN = "<conversation_summary>\nWe met.\n</conversation_summary>"


def roles(*turns: Any, **changes: Any) -> list[tuple[str, Any]]:
    """Role and content of each message."""
    return [(message["role"], message["content"]) for message in plain(chat(*turns, **changes))]


def test_a_summary_comes_first_in_a_user_turn() -> None:
    assert roles(assistant(SUMMARY, text("Go on.")), user("a")) == [
        ("user", SHOWN),
        ("assistant", "Go on."),
        ("user", "a"),
    ]


def test_a_summary_alone_joins_the_user_turn_behind_it() -> None:
    assert roles(assistant(SUMMARY), user("a")) == [("user", f"{SHOWN}\na")]
    assert roles(user(SUMMARY, text("a"))) == [("user", f"{SHOWN}\na")]
    assert roles(assistant(SUMMARY)) == [("user", SHOWN)]


def test_what_was_before_the_last_summary_is_left_out_with_a_note() -> None:
    before = [user("a"), assistant(call()), user(result()), assistant(SUMMARY | {"content": "old"})]
    after = [user("b"), assistant(text("so far"), SUMMARY, text("c")), user("d")]
    translation = translated(messages=before + after)
    assert translation.chat.messages == chat(assistant(SUMMARY, text("c")), user("d"))
    assert translation.notes == ("turns replaced by their compaction: 1",)


def test_the_system_prompt_stays_and_a_system_turn_behind_a_summary_too() -> None:
    turns = [system("head"), user("a"), system("gone"), assistant(SUMMARY), system("here"), user("b")]
    expected = [("system", "head"), ("user", SHOWN), ("system", "here"), ("user", "b")]
    assert roles(*turns) == expected
    reminded = [
        ("system", "head"),
        ("user", f"{SHOWN}\n<system-reminder>\nhere\n</system-reminder>\nb"),
    ]
    assert roles(*turns, capabilities=able_but(system_in_place=False)) == reminded


@pytest.mark.parametrize("role", ["user", "assistant"])
def test_a_compaction_that_failed_stands_for_nothing(role: str) -> None:
    failed = {"type": "compaction", "content": None}
    turns = [user("a"), assistant("b"), {"role": role, "content": [text("c"), failed]}, user("d")]
    without = [*turns[:2], {"role": role, "content": [text("c")]}, user("d")]
    translation = translated(messages=turns)
    assert translation.chat.messages == chat(*without)
    assert translation.notes == ("compactions without content dropped, they failed: 1",)


def test_a_call_before_a_summary_has_no_result_behind_it() -> None:
    with pytest.raises(InvalidRequestError, match=r"^messages\.2\.content\.0: unexpected `tool_use_id`"):
        chat(user("a"), assistant(call(), SUMMARY), user(result()))


def test_an_empty_summary_is_refused_by_path() -> None:
    with pytest.raises(InvalidRequestError, match=r"^messages\.0\.content\.0\.content: "):
        chat(assistant(SUMMARY | {"content": ""}), user("a"))


@pytest.mark.parametrize("changes", [None, []])
def test_no_changes_of_tools_are_accepted(changes: Any) -> None:
    assert roles(assistant(SUMMARY | {"tool_changes": changes})) == [("user", SHOWN)]


def test_changes_of_tools_stand_in_the_summary() -> None:
    change = {"type": "tool_removal", "tool": {"type": "tool_reference", "name": "f"}}
    turns = [assistant(SUMMARY | {"tool_changes": [change]}), user("a")]
    shown = translated(messages=turns, tools=[tool("f")]).chat
    assert "\n\nThe tool f is no longer available: do not call it.\n" in str(shown.messages[0].content)
    with pytest.raises(InvalidRequestError, match=r"^messages\.0\.content\.0\.tool_changes\.0\.tool\.name: "):
        chat(*turns)
