"""Calls and results inside conversations."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from dragoman.errors import InvalidRequestError
from dragoman.translate.ids import call_id_out
from dragoman.translate.options import Place
from dragoman.translate.raw import raw_text
from dragoman.translate.request import to_chat
from dragoman.wire.anthropic.codec import decode_messages
from dragoman.wire.openai import ChatMessage
from tests.support.translation import (
    PNG,
    able_but,
    assistant,
    call,
    chat,
    image,
    options,
    plain,
    result,
    system,
    text,
    thinking,
    user,
)

URI = f"data:image/png;base64,{PNG}"


def loop(*results: Any, calls: Any = None, **changes: Any) -> list[dict[str, Any]]:
    """What follows the assistant's turn when these blocks answer its calls."""
    turns = [user("go"), assistant(*(calls or [call()])), user(*results)]
    return plain(chat(*turns, **changes))[2:]


def arguments(messages: list[ChatMessage]) -> list[str]:
    """The arguments of all calls."""
    return [call.function.arguments for message in messages for call in message.tool_calls or []]


def test_a_call_keeps_its_order_its_text_and_its_thinking() -> None:
    turn = assistant(
        thinking("hm"), text("Let me"), call("toolu_a", "f", {"b": 1, "a": 2}), call("toolu_b", "g")
    )
    assert plain(chat(user("go"), turn, user(result("toolu_a"), result("toolu_b"))))[1] == {
        "role": "assistant",
        "content": "Let me",
        "reasoning": "hm",
        "tool_calls": [
            {"id": "toolu_a", "type": "function", "function": {"name": "f", "arguments": '{"b":1,"a":2}'}},
            {"id": "toolu_b", "type": "function", "function": {"name": "g", "arguments": "{}"}},
        ],
    }


def test_a_call_without_text_has_no_content() -> None:
    assert chat(user("go"), assistant(call()), user(result()))[1].content is None


def test_the_engines_own_id_comes_back() -> None:
    ours = call_id_out("functions.f:0", "msg_1", 0)
    messages = chat(user("go"), assistant(call(ours)), user(result(ours)))
    assert (messages[1].tool_calls or [])[0].id == "functions.f:0"
    assert messages[2].tool_call_id == "functions.f:0"


def test_arguments_are_the_bytes_that_came() -> None:
    raw = '{"z": 1,  "a": "\\u00e9", "n": 1.50}'
    turn = assistant(call() | {"input": msgspec.Raw(raw.encode())})
    assert arguments(chat(user("go"), turn, user(result()))) == [raw]


def test_an_unparsed_input_survives() -> None:
    value = {"__unparsedToolInput": {"raw": '{"a": ', "len": 6}}
    sent = arguments(chat(user("go"), assistant(call(arguments=value)), user(result())))
    assert [msgspec.json.decode(one) for one in sent] == [value]


@pytest.mark.parametrize(
    ("received", "spelled"),
    [
        ({"a": 1, "b": [True, {"c": "é"}]}, '{ "a": 1.0, "b": [true, {"c": "\\u00e9"}] }'),
        ({}, "{ }"),
        ({"b": 1, "a": 2}, '{"a": 2, "b": 1}'),
        ({"a": 1}, '{"a":1}'),
    ],
)
def test_arguments_are_spelled_as_the_model_wrote_them(received: Any, spelled: str) -> None:
    turns = [user("go"), assistant(call("toolu_x", arguments=received)), user(result("toolu_x"))]
    assert arguments(chat(*turns, spelling={"toolu_x": spelled}.get)) == [spelled]


@pytest.mark.parametrize(
    "spelled", ["", '{"a": 2}', '{"a": true}', '{"a": [1]}', '{"a": 1, "b": 2}', '{"a": 1', "[" * 5000]
)
def test_a_spelling_of_something_else_does_not_replace_what_the_client_sent(spelled: str) -> None:
    turns = [user("go"), assistant(call(arguments={"a": 1})), user(result())]
    assert arguments(chat(*turns, spelling=lambda _: spelled)) == ['{"a":1}']


@pytest.mark.parametrize(("received", "spelled"), [([1], "[1, 2]"), ([1], "[2]"), ({"b": 1}, '{"c": 1}')])
def test_nested_values_are_compared_in_full(received: Any, spelled: str) -> None:
    turns = [user("go"), assistant(call(arguments={"a": received})), user(result())]
    sent = arguments(chat(*turns, spelling=lambda _: f'{{"a": {spelled}}}'))
    assert [msgspec.json.decode(one) for one in sent] == [{"a": received}]


@pytest.mark.parametrize(
    ("block", "path"),
    [
        (call(call_id=""), "messages.1.content.0.id"),
        (call(name=""), "messages.1.content.0.name"),
        (call() | {"input": "text"}, "messages.1.content.0.input"),
        (call() | {"input": []}, "messages.1.content.0.input"),
        (call() | {"input": None}, "messages.1.content.0.input"),
    ],
)
def test_a_broken_call_is_refused_by_path(block: dict[str, Any], path: str) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        chat(user("go"), assistant(block), user("x"))
    assert refused.value.message.startswith(f"{path}: ")


def test_two_calls_of_one_turn_have_two_ids() -> None:
    with pytest.raises(InvalidRequestError, match=r"^messages.1.content.1.id: .*unique.*'toolu_a'"):
        chat(user("go"), assistant(call(), call()), user(result()))


def test_an_id_may_come_again_in_a_later_turn() -> None:
    turns = [
        user("go"),
        assistant(call()),
        user(result(content="1")),
        assistant(call()),
        user(result(content="2")),
    ]
    assert [message.content for message in chat(*turns) if message.role == "tool"] == ["1", "2"]


def test_calls_need_a_model_that_takes_tools() -> None:
    with pytest.raises(InvalidRequestError, match=r"^messages.1.content.0: .*does not take tool calls"):
        chat(user("go"), assistant(call()), user(result()), capabilities=able_but(tools=False))


def test_raw_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(InvalidRequestError, match=r"^messages.0.content: .*UTF-8"):
        raw_text(msgspec.Raw(b'{"a": "\xff"}'), Place(0, None))


def test_bytes_that_are_no_text_are_refused_by_the_path_of_what_would_carry_them_on() -> None:
    tools = b'"tools":[{"name":"a","input_schema":{"type":"object","a":"\xff"}}]'
    body = b'{"model":"m","max_tokens":1,"messages":[{"role":"user","content":"go"}],%b}' % tools
    with pytest.raises(InvalidRequestError, match=r"^tools.0.input_schema: .*UTF-8"):
        to_chat(decode_messages(body), options())


# --- results ---


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", ""),
        (None, ""),
        (..., ""),
        ([], ""),
        ([text("")], ""),
        ("a", "a"),
        ([text("a")], "a"),
        ([text("a"), text(""), text("b")], "a\nb"),
        ([text("a", cache_control={"type": "ephemeral"})], "a"),
    ],
)
def test_the_text_of_a_result(content: Any, expected: str) -> None:
    assert loop(result(content=content)) == [{"role": "tool", "content": expected, "tool_call_id": "toolu_a"}]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("no file", "[error] no file"),
        ([text("no file")], "[error] no file"),
        (None, "[error]"),
        ([text("")], "[error]"),
    ],
)
def test_an_error_is_visible_to_the_model(content: Any, expected: str) -> None:
    assert loop(result(content=content, is_error=True))[0]["content"] == expected


@pytest.mark.parametrize("mark", [{}, {"is_error": False}, {"is_error": None}])
def test_no_error_is_the_same_as_none_said(mark: dict[str, Any]) -> None:
    assert loop(result(**mark)) == loop(result())


def test_results_come_first_and_text_keeps_its_order() -> None:
    calls = [call("toolu_a"), call("toolu_b")]
    blocks = [text("before"), result("toolu_a", "1"), text("between"), result("toolu_b", "2"), text("after")]
    assert loop(*blocks, calls=calls) == [
        {"role": "tool", "content": "1", "tool_call_id": "toolu_a"},
        {"role": "tool", "content": "2", "tool_call_id": "toolu_b"},
        {"role": "user", "content": "before\nbetween\nafter"},
    ]


def test_results_follow_the_order_of_their_calls() -> None:
    calls = [call("toolu_a"), call("toolu_b"), call("toolu_c")]
    found = loop(result("toolu_c", "3"), result("toolu_a", "1"), result("toolu_b", "2"), calls=calls)
    assert [message["content"] for message in found] == ["1", "2", "3"]


def test_results_in_two_user_turns_are_all_found() -> None:
    turns = [
        user("go"),
        assistant(call("toolu_a"), call("toolu_b")),
        user(result("toolu_a")),
        user(result("toolu_b")),
    ]
    assert [message.role for message in chat(*turns)] == ["user", "assistant", "tool", "tool"]


def test_images_of_results_ride_behind_all_results_with_their_calls_name() -> None:
    calls = [call("toolu_a", "Read"), call("toolu_b", "Shot")]
    blocks = [
        result("toolu_b", [image()]),
        result("toolu_a", [text("top"), image(), text("middle"), image()]),
        text("look"),
        image(),
    ]
    shown = {"type": "image_url", "image_url": {"url": URI}}
    assert loop(*blocks, calls=calls) == [
        {"role": "tool", "content": "top\n[image 1]\nmiddle\n[image 2]", "tool_call_id": "toolu_a"},
        {"role": "tool", "content": "[image 3]", "tool_call_id": "toolu_b"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "[image 1] from the result of Read (call toolu_a):"},
                shown,
                {"type": "text", "text": "[image 2] from the result of Read (call toolu_a):"},
                shown,
                {"type": "text", "text": "[image 3] from the result of Shot (call toolu_b):"},
                shown,
                {"type": "text", "text": "look"},
                shown,
            ],
        },
    ]


def test_an_image_alone_with_an_error() -> None:
    assert loop(result(content=[image()], is_error=True))[0]["content"] == "[error] [image 1]"


@pytest.mark.parametrize(
    "turns",
    [
        [user(result("toolu_zz"))],
        [user("go"), assistant("no call"), user(result("toolu_zz"))],
        [user("go"), assistant(call("toolu_a")), user(result("toolu_a"), result("toolu_zz"))],
        [
            user("go"),
            assistant(call("toolu_zz")),
            user(result("toolu_zz")),
            assistant("y"),
            user(result("toolu_zz")),
        ],
    ],
)
def test_a_result_without_its_call_is_refused_by_id(turns: Any) -> None:
    with pytest.raises(
        InvalidRequestError, match=r"^messages.\d.content.\d: unexpected `tool_use_id`.* toolu_zz\."
    ):
        chat(*turns)


def test_a_call_has_one_result() -> None:
    with pytest.raises(InvalidRequestError, match=r"^messages.2.content.1: .*single result.* toolu_a$"):
        loop(result(), result())


@pytest.mark.parametrize(
    "answer",
    [[user(text("never mind"))], [user(result())], [system("s")], [user("x"), assistant("y"), user("z")]],
)
def test_calls_without_results_are_refused_by_their_turn_and_ids(answer: Any) -> None:
    calls = assistant(call("toolu_a"), call("toolu_b"))
    with pytest.raises(
        InvalidRequestError, match=r"^messages.1: `tool_use` ids .* after: (toolu_a, )?toolu_b\."
    ):
        chat(user("go"), calls, *answer)


# ---- templates that take no user turn behind a result -----------------------------------------------------

ANSWERED = (user("go"), assistant(call("toolu_a"), call("toolu_b")))
JOINS = {"capabilities": able_but(user_after_result=False)}
MERGING_JOINS = {"capabilities": able_but(user_after_result=False, system_in_place=False)}


def said_after(changes: dict[str, Any], *turns: dict[str, Any]) -> list[tuple[str, Any]]:
    """The roles and contents of what follows the calls."""
    return [(one.role, one.content) for one in chat(*ANSWERED, *turns, **changes)[2:]]


def test_a_users_words_behind_results_join_the_last_one_where_the_template_wants_it() -> None:
    results = result("toolu_b", "two"), result("toolu_a", "one")
    turns = user(*results, text("and this"))
    assert said_after({}, turns) == [("tool", "one"), ("tool", "two"), ("user", "and this")]
    assert said_after(JOINS, turns) == [("tool", "one"), ("tool", "two\nand this")]
    assert said_after(JOINS, user(*results)) == [("tool", "one"), ("tool", "two")]
    empty = user(result("toolu_b", ""), result("toolu_a", "one"), text("and this"))
    assert said_after(JOINS, empty) == [("tool", "one"), ("tool", "and this")]
    assert said_after(JOINS, user(*results), user("")) == [("tool", "one"), ("tool", "two")]


def test_reminders_behind_results_join_too_and_stay_as_the_conversation_goes_on() -> None:
    results = user(result("toolu_a", "one"), result("toolu_b", "two"))
    joined = [("tool", "one"), ("tool", "two\n<system-reminder>\nS\n</system-reminder>")]
    assert said_after(MERGING_JOINS, results, system("S")) == joined
    later = said_after(MERGING_JOINS, results, system("S"), assistant("ok"), user("more"))
    assert later == [*joined, ("assistant", "ok"), ("user", "more")]


def test_a_system_turn_that_stays_in_place_parts_them() -> None:
    results = user(result("toolu_a", "one"), result("toolu_b", "two"))
    found = said_after(JOINS, results, system("S"), user("more"))
    assert found == [("tool", "one"), ("tool", "two"), ("system", "S"), ("user", "more")]


def test_images_stay_in_a_user_turn() -> None:
    found = said_after(JOINS, user(result("toolu_a", "one"), result("toolu_b", [image()]), text("see")))
    assert [role for role, _ in found] == ["tool", "tool", "user"]
    assert found[1] == ("tool", "[image 1]")
