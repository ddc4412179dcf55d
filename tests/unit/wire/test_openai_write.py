"""The plain Chat Completions writer."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from dragoman.wire.openai import (
    ChatMessage,
    ChatRequest,
    ChatTool,
    FunctionCall,
    FunctionSpec,
    ImagePart,
    ImageURL,
    JsonFormat,
    Part,
    Reasoning,
    TextPart,
    ToolCall,
    ToolChoice,
)
from dragoman.wire.openai_write import chat_body

SCHEMA = b'{"type":"object","b":1,"a":2}'


def written(chat: ChatRequest, **options: str) -> dict[str, Any]:
    decoded: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(chat_body(chat, **options)))
    return decoded


def test_a_bare_request_says_only_what_was_said() -> None:
    chat = ChatRequest(model="m", messages=[ChatMessage(role="user", content="hi")])
    assert written(chat) == {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


def test_everything_that_can_be_said_is_written() -> None:
    tool = ChatTool(
        function=FunctionSpec(name="f", parameters=msgspec.Raw(SCHEMA), description="d", strict=True)
    )
    chat = ChatRequest(
        model="m",
        messages=[ChatMessage(role="user", content="hi")],
        tools=[tool],
        hidden_tools=[tool],
        tool_choice=ToolChoice("required"),
        parallel_tool_calls=False,
        max_tokens=5,
        temperature=0.0,
        top_p=0.5,
        top_k=3,
        stop=["x"],
        reasoning=Reasoning(effort="max"),
        response_format=JsonFormat(schema=msgspec.Raw(SCHEMA)),
        placement_key="never written",
        request_id="never written",
    )
    plain = msgspec.json.decode(SCHEMA)
    function = {"name": "f", "parameters": plain, "description": "d", "strict": True}
    schema = {"name": "output", "schema": plain, "strict": True}
    assert written(chat) == {
        "model": "m",
        "messages": [{"role": "user", "content": "hi"}],
        "tools": [{"type": "function", "function": function}],
        "tool_choice": "required",
        "parallel_tool_calls": False,
        "max_tokens": 5,
        "temperature": 0.0,
        "top_p": 0.5,
        "top_k": 3,
        "stop": ["x"],
        "reasoning_effort": "high",
        "response_format": {"type": "json_schema", "json_schema": schema},
    }
    assert SCHEMA in msgspec.json.encode(chat_body(chat))


@pytest.mark.parametrize(
    ("choice", "plain"),
    [
        (ToolChoice("auto"), "auto"),
        (ToolChoice("none"), "none"),
        (ToolChoice("function", "f"), {"type": "function", "function": {"name": "f"}}),
    ],
)
def test_tool_choices_have_their_plain_spelling(choice: ToolChoice, plain: object) -> None:
    chat = ChatRequest(model="m", messages=[], tool_choice=choice)
    assert written(chat)["tool_choice"] == plain


def test_an_assistant_turn_keeps_thinking_calls_and_an_explicit_null() -> None:
    call = ToolCall(id="c", function=FunctionCall(name="f", arguments='{"a": 1}'))
    turn = ChatMessage(role="assistant", reasoning="hm", tool_calls=[call])
    chat = ChatRequest(model="m", messages=[turn])
    calls = [{"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}]
    assert written(chat, reasoning_key="reasoning")["messages"] == [
        {"role": "assistant", "content": None, "reasoning": "hm", "tool_calls": calls}
    ]


def test_images_and_results_keep_their_shape() -> None:
    parts: list[Part] = [TextPart("see"), ImagePart(ImageURL("data:image/png;base64,AA=="))]
    chat = ChatRequest(
        model="m",
        messages=[
            ChatMessage(role="tool", content="", tool_call_id="c"),
            ChatMessage(role="user", content=parts),
        ],
    )
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
    assert written(chat)["messages"] == [
        {"role": "tool", "content": "", "tool_call_id": "c"},
        {"role": "user", "content": [{"type": "text", "text": "see"}, image]},
    ]


def test_an_assistant_turn_of_text_alone_has_nothing_else() -> None:
    chat = ChatRequest(model="m", messages=[ChatMessage(role="assistant", content="hi")])
    assert written(chat)["messages"] == [{"role": "assistant", "content": "hi"}]
