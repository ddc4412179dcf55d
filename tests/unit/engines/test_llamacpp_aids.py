"""Prompt aids in a request, and the form of a call: pure, over values."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from dragoman.engines.llamacpp.aids import Way, aided, call_request, chosen, first_request, way_of
from dragoman.engines.llamacpp.schema import call_format, loose, shape_of
from dragoman.models.aids import PromptAids
from dragoman.wire.openai import (
    ChatMessage,
    ChatRequest,
    ChatTool,
    FunctionCall,
    FunctionSpec,
    ImagePart,
    ImageURL,
    JsonFormat,
    TextPart,
    ToolCall,
    ToolChoice,
)

AIDS = PromptAids(system="Be kind.", policy="Call when needed.", result="Now answer.", fences=("```json",))
FORM = JsonFormat(schema=msgspec.Raw(b"{}"))


def tool(name: str, schema: dict[str, Any] | None = None) -> ChatTool:
    """A tool whose arguments have that schema."""
    raw = msgspec.Raw(msgspec.json.encode(schema or {"type": "object"}))
    return ChatTool(function=FunctionSpec(name=name, parameters=raw))


def turn(role: Any, content: Any = None, **more: Any) -> ChatMessage:
    """One turn."""
    return ChatMessage(role=role, content=content, **more)


def asking(*messages: ChatMessage, **more: Any) -> ChatRequest:
    """A request with one tool, unless the test says otherwise."""
    turns = list(messages) or [turn("user", "Hi")]
    return ChatRequest(**{"model": "m", "messages": turns, "tools": [tool("f")], **more})


def contents(chat: ChatRequest) -> list[Any]:
    """What stands in the turns."""
    return [message.content for message in chat.messages]


def schema_of(form: JsonFormat | None) -> Any:
    """The schema of a form."""
    assert form is not None
    return msgspec.json.decode(form.schema)


def test_the_policy_ends_the_system_prompt_or_is_one() -> None:
    assert contents(aided(asking(), AIDS)) == ["Be kind. Call when needed.", "Hi"]
    own = asking(turn("system", "You are Ed."), turn("user", "Hi"))
    assert contents(aided(own, AIDS)) == ["You are Ed.\n\nCall when needed.", "Hi"]
    assert contents(own) == ["You are Ed.", "Hi"]


def test_without_tools_the_system_prompt_stays() -> None:
    plain = asking(turn("user", "Hi"), tools=[])
    assert contents(aided(plain, AIDS)) == ["Hi"]


def test_parts_get_one_more() -> None:
    parts = asking(turn("system", [TextPart("You are Ed.")]), turn("user", "Hi"))
    assert contents(aided(parts, AIDS))[0] == [TextPart("You are Ed."), TextPart("\n\nCall when needed.")]


def test_every_result_has_its_sentence_also_without_tools() -> None:
    call = ToolCall("c", FunctionCall("f", "{}"))
    asked = turn("assistant", tool_calls=[call])
    first, second = turn("tool", "1", tool_call_id="c"), turn("tool", None, tool_call_id="c")
    chat = asking(turn("user", "Hi"), asked, first, asked, second, tools=[])
    assert contents(aided(chat, AIDS)) == ["Hi", None, "1\nNow answer.", None, "Now answer."]


REMINDER = "<system-reminder>Be\nbrief.</system-reminder>"


@pytest.mark.parametrize("content", [REMINDER, [TextPart(REMINDER)]])
def test_a_reminder_behind_a_result_stands_before_its_sentence(content: Any) -> None:
    result = turn("tool", "1", tool_call_id="c")
    told = [f"1\n\n{REMINDER}\nNow answer."]
    assert contents(aided(asking(result, turn("user", content), tools=[]), AIDS)) == told
    assert contents(aided(asking(turn("user", content), tools=[]), AIDS)) == [content]
    assert contents(aided(asking(result, turn("user", content), tools=[]), PromptAids())) == ["1", content]


@pytest.mark.parametrize(
    "content",
    [
        "And 2?",
        f"{REMINDER} And 2?",
        "<b>And",
        "<b></b>" * 5000 + "x",
        [TextPart(REMINDER), ImagePart(ImageURL("data:,"))],
        None,
    ],
)
def test_what_a_person_says_behind_a_result_stays_a_turn(content: Any) -> None:
    chat = asking(turn("tool", "1", tool_call_id="c"), turn("user", content), tools=[])
    assert contents(aided(chat, AIDS)) == ["1\nNow answer.", content]


def test_a_longer_conversation_only_adds_to_the_end() -> None:
    turns = [
        turn("system", "You are Ed."),
        turn("user", "Hi"),
        turn("assistant", tool_calls=[ToolCall("c", FunctionCall("f", "{}"))]),
        turn("tool", "1", tool_call_id="c"),
        turn("assistant", "One."),
        turn("user", "And now?"),
    ]
    whole = aided(asking(*turns), AIDS).messages
    for length in range(1, len(turns) + 1):
        assert aided(asking(*turns[:length]), AIDS).messages == whole[:length]


def test_empty_aids_add_nothing() -> None:
    chat = asking(turn("user", "Hi"), turn("tool", "1", tool_call_id="c"))
    assert aided(chat, PromptAids()) == chat


@pytest.mark.parametrize(
    ("more", "way"),
    [
        ({}, Way.LISTEN),
        ({"tool_choice": ToolChoice("auto")}, Way.LISTEN),
        ({"tool_choice": ToolChoice("none")}, Way.LISTEN),
        ({"tool_choice": ToolChoice("none"), "response_format": FORM}, Way.ENGINE),
        ({"tool_choice": ToolChoice("required")}, Way.FORCE),
        ({"tool_choice": ToolChoice("function", "f"), "response_format": FORM}, Way.FORCE),
        ({"response_format": FORM}, Way.ENGINE),
        ({"continue_final": True}, Way.ENGINE),
        ({"tools": []}, Way.ENGINE),
    ],
)
def test_the_way_of_a_request(more: dict[str, Any], way: Way) -> None:
    assert way_of(asking(**more)) is way


def test_what_is_asked_first() -> None:
    listening = first_request(asking(parallel_tool_calls=False, stop=["x"]), AIDS)
    assert (listening.tool_choice, listening.parallel_tool_calls) == (ToolChoice("none"), None)
    assert (listening.response_format, listening.stop) == (None, [])
    forced = first_request(asking(tool_choice=ToolChoice("required"), stop=["x"]), AIDS)
    assert (forced.tool_choice, forced.stop) == (ToolChoice("none"), [])
    assert schema_of(forced.response_format)["properties"]["name"] == {"const": "f"}
    assert forced.messages == listening.messages
    own = first_request(asking(tool_choice=ToolChoice("none")), AIDS)
    assert own.tool_choice == ToolChoice("none")
    assert own.messages == listening.messages


def test_the_tools_of_which_one_is_called() -> None:
    tools = [tool("f"), tool("g")]

    def names(name: str | None = None, **more: Any) -> list[str]:
        return [one.function.name for one in chosen(asking(tools=tools, **more), name)]

    assert names() == ["f", "g"]
    assert names("g") == ["g"]
    assert names(tool_choice=ToolChoice("function", "f")) == ["f"]


def test_a_loaded_tool_may_be_called_and_a_removed_one_not() -> None:
    changed = asking(tools=[tool("f"), tool("g")], loaded_tools=[tool("late")], removed_tools=["g"])
    assert [one.function.name for one in chosen(changed)] == ["f", "late"]
    assert chosen(changed, "late") == [tool("late")]
    assert way_of(asking(tools=[], loaded_tools=[tool("late")])) is Way.LISTEN
    none_left = asking(tools=[tool("f")], removed_tools=["f"], tool_choice=ToolChoice("none"))
    assert way_of(none_left) is Way.LISTEN
    assert aided(changed, AIDS).tools == changed.tools


def test_a_call_keeps_all_tools_in_the_prompt() -> None:
    tools = [tool("f"), tool("g")]
    assert call_request(asking(tools=tools), tools[:1]).tools == tools


def test_the_form_of_one_call_of_several() -> None:
    place = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    schema = schema_of(call_format([tool("f", place), tool("g")]))
    assert schema["$defs"] == {"arguments0": place, "arguments1": {"type": "object"}}
    assert [one["properties"] for one in schema["anyOf"]] == [
        {"name": {"const": "f"}, "arguments": {"$ref": "#/$defs/arguments0"}},
        {"name": {"const": "g"}, "arguments": {"$ref": "#/$defs/arguments1"}},
    ]
    assert all(list(one["properties"]) == one["required"] for one in schema["anyOf"])


def test_references_of_a_schema_move_with_it() -> None:
    tree = {
        "type": "object",
        "properties": {"left": {"$ref": "#"}, "all": {"type": "array", "items": [{"$ref": "#/$defs/leaf"}]}},
        "$defs": {"leaf": {"type": "string", "$ref": "other.json"}},
    }
    moved = schema_of(call_format([tool("f", tree)]))["$defs"]["arguments0"]
    assert moved["properties"]["left"] == {"$ref": "#/$defs/arguments0"}
    assert moved["properties"]["all"]["items"] == [{"$ref": "#/$defs/arguments0/$defs/leaf"}]
    assert moved["$defs"]["leaf"]["$ref"] == "other.json"


def test_a_property_that_is_called_ref_is_no_reference() -> None:
    schema = {"type": "object", "properties": {"$ref": {"type": "string"}}}
    assert schema_of(call_format([tool("f", schema)]))["$defs"]["arguments0"] == schema


def test_values_that_look_like_references_stay() -> None:
    value = {"$ref": "#/here"}
    held = {"const": value, "enum": [value], "default": value, "examples": [value]}
    schema = {"type": "object", "properties": {"a": held, "default": value, "enum": {"items": value}}}
    moved = schema_of(call_format([tool("f", schema)]))["$defs"]["arguments0"]["properties"]
    there = {"$ref": "#/$defs/arguments0/here"}
    assert moved == {"a": held, "default": there, "enum": {"items": there}}


def test_the_shape_keeps_names_and_what_is_required() -> None:
    def shape(schema: dict[str, Any]) -> Any:
        found = shape_of(tool("f", schema))
        return None if found is None else msgspec.json.decode(found.function.parameters)

    properties = {"a": {"type": "string", "format": "odd"}, "b": {"$ref": "#/none"}}
    whole = {"type": "object", "properties": properties, "required": ["a", "c"], "allOf": []}
    names: dict[str, Any] = {"a": {}, "b": {}, "c": {}}
    assert shape(whole) == {"type": "object", "properties": names, "required": ["a", "c"]}
    nameless: list[dict[str, Any]] = [
        {},
        {"properties": {}},
        {"properties": [], "required": ["a"]},
        {"required": "a"},
    ]
    assert [shape(one) for one in nameless] == [None] * 4


def test_the_loose_form_takes_any_object() -> None:
    schema = schema_of(call_format([loose(tool("f", {"type": "object", "required": ["a"]}))]))
    assert schema["$defs"] == {"arguments0": {"type": "object"}}
