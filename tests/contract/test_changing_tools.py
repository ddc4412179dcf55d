"""Tools that change along a conversation, on a real llama.cpp: known to it, and not in the prompt's head."""

from __future__ import annotations

import msgspec
import pytest

from dragoman.engines.base import InferenceEngine
from dragoman.engines.remote import RemoteInferenceEngine
from dragoman.wire.openai import ChatMessage, ChatRequest, ToolChoice
from tests.contract.test_engines import asked, expected, parts, streamed
from tests.support.dialogues import MODEL, dialogues

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.engine,
    pytest.mark.parametrize("engine", ["llamacpp", "embedded"], indirect=True, scope="module"),
]

WEATHER, BASH = dialogues()["call-Paris"].request.tools


async def prompt_of(engine: InferenceEngine, request: ChatRequest) -> str:
    """The prompt that the server makes of a request."""
    assert isinstance(engine, RemoteInferenceEngine)
    dialect = await engine.dialect()
    body = msgspec.json.decode(dialect.write(request, await engine.capabilities(MODEL), stream=False))
    rendered = await engine.transport.ask("/apply-template", body)
    prompt: str = msgspec.json.decode(rendered.body)["prompt"]
    return prompt


async def test_a_loaded_tool_is_called_and_not_in_the_head(engine: InferenceEngine) -> None:
    assert (await engine.capabilities(MODEL)).unlisted_tools
    loaded = asked("call-Paris", tools=[BASH], hidden_tools=[WEATHER], loaded_tools=[WEATHER])
    for answer in (await engine.chat_completion(loaded), await streamed(engine, loaded)):
        assert parts(answer)[2] == expected("call-Paris")[2]
        assert answer.usage is not None
        assert answer.usage.prompt_tokens == await engine.count_tokens(loaded)
    before = asked("call-Paris", tools=[BASH], hidden_tools=[WEATHER])
    assert await prompt_of(engine, loaded) == await prompt_of(engine, before)


@pytest.mark.parametrize("mode", ["auto", "none", "required", "function"])
async def test_no_choice_moves_the_head(engine: InferenceEngine, mode: str) -> None:
    before = await prompt_of(engine, asked("hello", tools=[BASH]))
    choice = msgspec.convert({"mode": mode, "name": "get_weather"}, ToolChoice)
    after = asked("hello", tools=[BASH], loaded_tools=[WEATHER], tool_choice=choice)
    assert await prompt_of(engine, after) == before


async def test_a_forced_call_is_of_the_loaded_tool(engine: InferenceEngine) -> None:
    forced = asked(
        "hello/nothink",
        tools=[BASH],
        loaded_tools=[WEATHER],
        tool_choice=ToolChoice("function", "get_weather"),
    )
    answer = await engine.chat_completion(forced)
    assert [name for name, _ in parts(answer)[2]] == ["get_weather"]
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == await engine.count_tokens(forced)


async def test_a_removed_tool_is_not_called_where_a_call_is_forced(engine: InferenceEngine) -> None:
    gone = ChatMessage(role="system", content="The tool get_weather is no longer available: do not call it.")
    request = asked("call-Paris", tool_choice=ToolChoice("required"), removed_tools=["get_weather"])
    request.messages = [*request.messages, gone]
    answer = await engine.chat_completion(msgspec.structs.replace(request, max_tokens=60))
    calls = answer.choices[0].message.tool_calls or []
    assert {call.function.name for call in calls if call.function is not None} == {"bash"}
