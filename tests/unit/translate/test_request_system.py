"""System prompts: joining, the billing header, system turns inside the conversation."""

from __future__ import annotations

from typing import Any

import pytest

from dragoman.translate.system import reminder, without_billing_header
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
    translated,
    user,
)

HEADER = "x-anthropic-billing-header: cc_version=2.1.330.a5f; cc_entrypoint=sdk-py; cch=a5145;"
MERGING = able_but(system_in_place=False)


def head(value: Any) -> str | None:
    """What the model reads as the system prompt; None where there is none."""
    first = plain(translated(system=value).chat.messages)[0]
    return first["content"] if first["role"] == "system" else None


@pytest.mark.parametrize(
    "value", ["a\nb", [text("a\nb")], [text("a"), text("b")], [text("a"), text(""), text("b")]]
)
def test_system_blocks_join_with_one_newline(value: Any) -> None:
    assert head(value) == "a\nb"


@pytest.mark.parametrize("value", [None, "", [], [text("")], HEADER, [text(HEADER)], [text(HEADER + "\n")]])
def test_an_empty_system_prompt_is_none(value: Any) -> None:
    assert head(value) is None


@pytest.mark.parametrize(
    "value",
    [
        [text(HEADER), text("You are")],
        [text(HEADER + "You are")],
        [text(HEADER + "\nYou are")],
        [text(HEADER + " \r\nYou are")],
        HEADER + "\nYou are",
        [text(HEADER.replace("a5145", "ffff0")), text("You are")],
        [text(HEADER + " cc_is_subagent=true;"), text("You are")],
        [text("x-anthropic-billing-header: cc_version=2; cch=a5145"), text("You are")],
        [text("x-anthropic-billing-header: cc_version=2; cch=a5145\n"), text("You are")],
    ],
)
def test_exactly_the_billing_header_goes(value: Any) -> None:
    assert head(value) == "You are"


@pytest.mark.parametrize(
    "value",
    [
        [text("You are"), text(HEADER)],
        [text("You are\n" + HEADER)],
        [text(" " + HEADER)],
        [text("x-anthropic-billing-header: nothing of the kind")],
        [text("X-Anthropic-Billing-Header: cch=1;")],
    ],
)
def test_what_only_looks_like_the_header_stays(value: Any) -> None:
    assert head(value) == "\n".join(block["text"] for block in value)


def test_what_follows_the_header_keeps_its_own_lines() -> None:
    assert without_billing_header(HEADER + "\n\n  You; are=you;") == "\n  You; are=you;"
    assert without_billing_header(HEADER + " You are") == " You are"
    assert without_billing_header(HEADER + "mode=strict\nYou are") == "mode=strict\nYou are"


def test_a_user_turn_that_begins_like_the_header_stays() -> None:
    assert chat(user(HEADER + "\nhi"))[0].content == HEADER + "\nhi"


def test_the_header_of_a_system_turn_goes_too() -> None:
    turns = [user("a"), system(text(HEADER), text("b"))]
    assert chat(*turns) == chat(user("a"), system("b"))


# --- system turns inside the conversation ---


def test_a_system_turn_stays_where_it_stands() -> None:
    turns = [user("a"), system("s"), assistant("b"), user("c"), system(text("t"), text("u"))]
    assert plain(chat(*turns)) == [
        {"role": "user", "content": "a"},
        {"role": "system", "content": "s"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"},
        {"role": "system", "content": "t\nu"},
    ]


@pytest.mark.parametrize("capabilities", [able_but(), MERGING])
def test_leading_system_turns_belong_to_the_head(capabilities: Any) -> None:
    fields = {"system": "top", "messages": [system("one"), system("two"), user("a")]}
    assert plain(translated({"capabilities": capabilities}, **fields).chat.messages) == [
        {"role": "system", "content": "top\none\ntwo"},
        {"role": "user", "content": "a"},
    ]


@pytest.mark.parametrize("capabilities", [able_but(), MERGING])
def test_an_empty_system_turn_leaves_no_trace(capabilities: Any) -> None:
    turns = [user("a"), system(text("")), user("b")]
    assert chat(*turns, capabilities=capabilities) == chat(user(text("a"), text("b")))


def test_a_template_without_system_turns_gets_reminders_in_place() -> None:
    turns = [
        system("h"),
        user("a"),
        system("s"),
        user("b"),
        assistant("c"),
        system("t"),
        user("d"),
        system("u"),
    ]
    assert plain(chat(*turns, capabilities=MERGING)) == [
        {"role": "system", "content": "h"},
        {"role": "user", "content": "a\n<system-reminder>\ns\n</system-reminder>\nb"},
        {"role": "assistant", "content": "c"},
        {
            "role": "user",
            "content": f"{reminder('t')}\nd\n{reminder('u')}",
        },
    ]


def test_a_reminder_between_assistant_turns_is_a_user_turn_of_its_own() -> None:
    roles = [message.role for message in chat(user("a"), assistant("b"), system("s"), capabilities=MERGING)]
    assert roles == ["user", "assistant", "user"]


def test_a_system_turn_between_call_and_result_goes_after_the_result() -> None:
    turns = [user("a"), assistant(call()), system("s"), user(result(), text("b"))]
    assert plain(chat(*turns))[2:] == [
        {"role": "tool", "content": "ok", "tool_call_id": "toolu_a"},
        {"role": "system", "content": "s"},
        {"role": "user", "content": "b"},
    ]


def test_a_system_turn_between_two_results_goes_after_both() -> None:
    calls = assistant(call("toolu_a"), call("toolu_b"))
    turns = [user("a"), calls, user(result("toolu_a")), system("s"), user(result("toolu_b"))]
    assert [message.role for message in chat(*turns)][2:] == ["tool", "tool", "system"]


def test_a_reminder_between_call_and_result_goes_after_the_result() -> None:
    turns = [user("a"), assistant(call()), system("s"), user(result(), text("b"))]
    assert plain(chat(*turns, capabilities=MERGING))[2:] == [
        {"role": "tool", "content": "ok", "tool_call_id": "toolu_a"},
        {"role": "user", "content": "<system-reminder>\ns\n</system-reminder>\nb"},
    ]


def test_the_images_of_a_result_stay_beside_it() -> None:
    turns = [user("a"), assistant(call()), system("s"), user(result(content=[image()]), text("b"))]
    assert [message.role for message in chat(*turns)][2:] == ["tool", "user", "system", "user"]


def test_a_system_turn_with_clear_at_is_left_out_once_a_user_turn_follows() -> None:
    turn = system("s") | {"clear_at": "next_user_message"}
    assert chat(user("a"), turn) == chat(user("a"), system("s"))
    later = translated(messages=[user("a"), turn, assistant("b"), user("c")])
    assert later.chat.messages == chat(user("a"), assistant("b"), user("c"))
    assert later.notes == ("system turns cleared by a later user turn, as their clear_at says: 1",)


def test_as_many_system_turns_with_clear_at_as_a_request_may_hold_take_a_moment() -> None:
    turn = system("s") | {"clear_at": "next_user_message"}
    assert len(chat(user("a"), *([turn] * 99_998), user("b"))) == 1
    _, rest = chat(user("a"), *([turn] * 99_999))
    assert rest.content == "\n".join(["s"] * 99_999)
