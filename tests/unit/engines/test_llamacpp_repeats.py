"""Calls that repeat the one whose result has just come."""

from __future__ import annotations

from typing import Any

import pytest

from dragoman.engines.llamacpp.calls import CallReader
from dragoman.engines.llamacpp.repeats import RepeatGuard, answered_calls
from dragoman.wire.openai import ChatMessage, ChatRequest, FunctionCall, ToolCall

EARLIER = FunctionCall("run", '{"command":"git status","n":1}')


def turn(role: Any, content: str | None = None, *calls: FunctionCall) -> ChatMessage:
    """One turn."""
    made = [ToolCall(f"c{number}", call) for number, call in enumerate(calls)]
    return ChatMessage(role=role, content=content, tool_calls=made or None)


def answered(*messages: ChatMessage) -> list[FunctionCall]:
    """The calls that a conversation just answered."""
    return answered_calls(ChatRequest(model="m", messages=list(messages)))


def test_the_calls_that_were_answered_last() -> None:
    other = FunctionCall("read", "{}")
    called = turn("assistant", None, EARLIER, other)
    result = turn("tool", "ok")
    assert answered(turn("user", "Hi"), called, result, result) == [EARLIER, other]
    assert answered(turn("assistant", None, other), result, turn("assistant", None, EARLIER), result) == [
        EARLIER
    ]
    assert answered(turn("user", "Hi")) == []
    assert answered(called) == []
    assert answered(turn("user", "Hi"), result) == []
    assert answered(result) == []
    assert answered() == []


@pytest.mark.parametrize(
    "behind",
    [
        [turn("user", "<system-reminder>Be brief.</system-reminder>")],
        [turn("system", "Be brief.")],
        [turn("user", "Thanks."), turn("system", "Be brief."), turn("user", "And?")],
    ],
)
def test_what_stands_behind_a_result_takes_nothing_from_it(behind: list[ChatMessage]) -> None:
    called, result = turn("assistant", None, EARLIER), turn("tool", "ok")
    assert answered(called, result, *behind) == [EARLIER]
    assert answered(called, *behind, result) == [EARLIER]
    assert answered(called, *behind) == []
    assert answered(called, result, turn("assistant", "Done."), *behind) == []


def guarded(text: str, *earlier: FunctionCall) -> tuple[list[str], RepeatGuard]:
    """What is shown of a call's arguments, character for character, and the guard after them."""
    reader, guard = CallReader(), RepeatGuard(list(earlier))
    shown = [guard.feed(deltas, complete=reader.complete) for char in text if (deltas := reader.feed(char))]
    pieces = [delta.function.arguments or "" for deltas in shown for delta in deltas if delta.function]
    return pieces, guard


@pytest.mark.parametrize(
    "arguments", ['{"command":"git status","n":1}', '{ "command": "git status",\n "n": 1 }']
)
def test_a_repeat_is_never_shown(arguments: str) -> None:
    pieces, guard = guarded(f'{{"name": "run", "arguments": {arguments}}}', EARLIER)
    assert (pieces, guard.is_repeat) == ([], True)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("run", '{"command": "git log"}'),
        ("run", '{"command": "gitstatus", "n": 1}'),
        ("run", '{"command": "git status"}'),
        ("read", '{"command": "git status", "n": 1}'),
        ("run", "{}"),
    ],
)
def test_any_other_call_is_shown_whole(name: str, arguments: str) -> None:
    pieces, guard = guarded(f'{{"name": "{name}", "arguments": {arguments}}}', EARLIER)
    assert ("".join(pieces), guard.is_repeat) == (arguments, False)


def test_it_is_shown_from_where_it_differs() -> None:
    pieces, _ = guarded('{"name": "run", "arguments": {"command": "git log"}}', EARLIER)
    held = '{"command": "git l'
    assert len(pieces) == len(held) + 1 + len('og"}')


def test_without_earlier_calls_nothing_is_held() -> None:
    pieces, guard = guarded('{"name": "run", "arguments": {"a": 1}}')
    assert ("".join(pieces), len(pieces), guard.is_repeat) == ('{"a": 1}', 9, False)


def test_a_call_that_was_cut_while_it_was_held_is_shown_then() -> None:
    _, guard = guarded('{"name": "run", "arguments": {"comm', EARLIER)
    said = "".join(delta.function.arguments or "" for delta in guard.flush() if delta.function)
    assert (said, guard.is_repeat) == ('{"comm', False)


def test_an_earlier_call_that_is_no_json_is_no_repeat() -> None:
    pieces, guard = guarded('{"name": "run", "arguments": {}}', FunctionCall("run", "{}}"))
    assert ("".join(pieces), guard.is_repeat) == ("{}", False)
