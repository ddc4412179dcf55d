"""Conversations for chat templates that refuse a system prompt, several calls in a turn, or calls alone."""

from __future__ import annotations

from typing import Any

import pytest

from dragoman.wire.openai import ChatMessage, ImagePart, TextPart
from tests.support.translation import (
    able_but,
    assistant,
    call,
    chat,
    image,
    result,
    system,
    text,
    thinking,
    translated,
    user,
)

HEADLESS: dict[str, Any] = {"capabilities": able_but(system_at_head=False, system_in_place=False)}
APART = {"capabilities": able_but(calls_together=False)}
WITH_TEXT = {"capabilities": able_but(calls_without_text=False)}
JOINS_APART = {"capabilities": able_but(calls_together=False, user_after_result=False)}
ALL_THREE = {
    "capabilities": able_but(
        system_at_head=False, system_in_place=False, calls_together=False, calls_without_text=False
    )
}


def said(messages: list[ChatMessage]) -> list[tuple[str, Any]]:
    """Roles and contents."""
    return [(message.role, message.content) for message in messages]


def prompted(prompt: str, changes: dict[str, Any], *turns: dict[str, Any]) -> list[ChatMessage]:
    """The messages of a request with a system prompt."""
    return translated(changes, messages=list(turns), system=prompt).chat.messages


# ---- no system turn at all --------------------------------------------------------------------------------


def test_the_system_prompt_begins_the_first_user_turn() -> None:
    turns = [user("Hi"), assistant("Hello."), user("More")]
    assert said(prompted("Be brief.", HEADLESS, *turns)) == [
        ("user", "Be brief.\n\nHi"),
        ("assistant", "Hello."),
        ("user", "More"),
    ]
    assert said(chat(*turns, **HEADLESS)) == said(chat(*turns))


def test_leading_system_turns_belong_to_it_and_later_ones_are_reminders() -> None:
    turns = [system("Also."), user("Hi"), system("Now."), assistant("Hello."), user("More"), system("Again.")]
    assert said(prompted("Be brief.", HEADLESS, *turns)) == [
        ("user", "Be brief.\nAlso.\n\nHi\n<system-reminder>\nNow.\n</system-reminder>"),
        ("assistant", "Hello."),
        ("user", "More\n<system-reminder>\nAgain.\n</system-reminder>"),
    ]


def test_a_template_that_refuses_the_first_one_gets_no_later_one_either() -> None:
    only_head = {"capabilities": able_but(system_at_head=False)}
    assert said(prompted("S", only_head, user("Hi"), system("Now."))) == [
        ("user", "S\n\nHi\n<system-reminder>\nNow.\n</system-reminder>")
    ]


@pytest.mark.parametrize(
    ("turns", "expected"),
    [
        ([user("")], [("user", "S")]),
        ([system("T")], [("user", "S\nT")]),
        ([assistant("Hello."), user("Hi")], [("user", "S"), ("assistant", "Hello."), ("user", "Hi")]),
    ],
)
def test_without_words_of_a_user_it_is_a_user_turn(
    turns: list[dict[str, Any]], expected: list[tuple[str, str]]
) -> None:
    assert said(prompted("S", HEADLESS, *turns)) == expected


def test_images_of_the_first_user_turn_come_after_it() -> None:
    (alone,) = prompted("S", HEADLESS, user(image()))
    (with_text,) = prompted("S", HEADLESS, user(text("Look:"), image(), text("See?")))
    assert isinstance(alone.content, list)
    assert isinstance(with_text.content, list)
    assert [type(part) for part in alone.content] == [TextPart, ImagePart]
    assert alone.content[0] == TextPart("S")
    assert [type(part) for part in with_text.content] == [TextPart, ImagePart, TextPart]
    assert with_text.content[0] == TextPart("S\n\nLook:")


def test_it_stands_before_a_summary() -> None:
    compaction = {"type": "compaction", "content": "We met."}
    messages = prompted("S", HEADLESS, user("Hi"), assistant(compaction), user("More"))
    summary = "<conversation_summary>\nWe met.\n</conversation_summary>"
    assert said(messages) == [("user", f"S\n\n{summary}\nMore")]


# ---- one call in a turn -----------------------------------------------------------------------------------

LOOP = [
    user("go"),
    assistant(thinking("hm"), text("Both."), call("toolu_a", "f"), call("toolu_b", "g")),
    user(result("toolu_b", "two"), result("toolu_a", "one"), text("and this")),
]


def calls_of(messages: list[ChatMessage]) -> list[list[str]]:
    """The names that each turn calls."""
    return [[each.function.name for each in message.tool_calls or ()] for message in messages]


def test_each_call_gets_a_turn_of_its_own_with_its_result_behind_it() -> None:
    messages = chat(*LOOP, **APART)
    assert said(messages) == [
        ("user", "go"),
        ("assistant", "Both."),
        ("tool", "one"),
        ("assistant", None),
        ("tool", "two"),
        ("user", "and this"),
    ]
    assert calls_of(messages) == [[], ["f"], [], ["g"], [], []]
    assert [message.reasoning for message in messages] == [None, "hm", None, None, None, None]
    assert [message.tool_call_id for message in messages[2:5:2]] == ["toolu_a", "toolu_b"]


def test_words_that_join_the_results_join_the_last_one() -> None:
    assert [content for role, content in said(chat(*LOOP, **JOINS_APART)) if role == "tool"] == [
        "one",
        "two\nand this",
    ]


def test_images_of_results_stay_behind_all_of_them() -> None:
    answers = user(result("toolu_a", [image()]), result("toolu_b", "two"))
    messages = chat(*LOOP[:2], answers, **APART)
    assert [message.role for message in messages[1:]] == ["assistant", "tool", "assistant", "tool", "user"]


def test_one_call_stays_as_it_is() -> None:
    turns = [user("go"), assistant(call()), user(result()), assistant("Done."), user("thanks")]
    assert chat(*turns, **APART) == chat(*turns)


# ---- calls with a text beside them ------------------------------------------------------------------------


def test_calls_get_an_empty_text_where_the_template_reads_one() -> None:
    turns = [user("go"), assistant(call("toolu_a")), user(result("toolu_a", "one"))]
    assert chat(*turns)[1].content is None
    assert chat(*turns, **WITH_TEXT)[1].content == ""
    assert chat(*LOOP, **WITH_TEXT) == chat(*LOOP)


def test_calls_that_were_parted_get_one_too() -> None:
    assert said(prompted("S", ALL_THREE, *LOOP)) == [
        ("user", "S\n\ngo"),
        ("assistant", "Both."),
        ("tool", "one"),
        ("assistant", ""),
        ("tool", "two"),
        ("user", "and this"),
    ]
