"""What holds for llama.cpp beyond the contract, on a real one: the parrot's whole script, its own ways."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from dragoman.engines.base import InferenceEngine
from dragoman.wire.openai import ChatMessage, ChatRequest, JsonFormat, Reasoning, ToolChoice
from tests.contract.test_engines import asked, expected, parts, read, streamed
from tests.support.dialogues import MODEL, PARROT, dialogues

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.engine,
    pytest.mark.parametrize("engine", ["llamacpp", "embedded"], indirect=True, scope="module"),
]


async def test_every_dialogue_is_answered_and_counted(engine: InferenceEngine) -> None:
    answers, counts = {}, {}
    for name, dialogue in dialogues().items():
        whole = await engine.chat_completion(dialogue.request)
        in_stream = await streamed(engine, dialogue.request)
        answers[name] = (parts(whole), parts(in_stream))
        assert whole.usage is not None
        assert in_stream.usage is not None
        counted = await engine.count_tokens(dialogue.request)
        counts[name] = {counted, whole.usage.prompt_tokens, in_stream.usage.prompt_tokens}
    assert answers == {name: (expected(name), expected(name)) for name in dialogues()}
    assert {name: len(numbers) for name, numbers in counts.items()} == dict.fromkeys(dialogues(), 1)


async def test_it_says_what_it_can(engine: InferenceEngine) -> None:
    capabilities = await engine.capabilities(MODEL)
    assert not capabilities.images
    can = {name for name in capabilities.__struct_fields__ if getattr(capabilities, name) is True}
    assert can >= {
        "fills_context",
        "reasoning",
        "reasoning_switch",
        "continuation",
        "counting",
        "matched_stop",
        "early_usage",
        "system_in_place",
    }


class Continued(msgspec.Struct):
    """A reply that begins with given words."""

    name: str
    messages: list[dict[str, Any]]
    enable_thinking: bool
    prefill: str
    text: str


CONTINUED = [
    one
    for one in msgspec.json.decode((PARROT / "beyond.json").read_bytes(), type=list[Continued])
    if one.prefill and "tools" not in one.name
]


@pytest.mark.parametrize("case", CONTINUED, ids=[one.name for one in CONTINUED])
async def test_i147_a_last_turn_is_continued_and_not_repeated(
    engine: InferenceEngine, case: Continued
) -> None:
    messages = [ChatMessage(role=turn["role"], content=turn["content"]) for turn in case.messages]
    request = ChatRequest(
        model=MODEL,
        messages=[*messages, ChatMessage(role="assistant", content=case.prefill)],
        reasoning=Reasoning(enabled=False),
        temperature=0.0,
        max_tokens=300,
        continue_final=True,
    )
    wanted: tuple[str, str, list[tuple[str | None, Any]], str | None] = (
        "",
        case.text.removeprefix(case.prefill).strip(),
        [],
        "stop",
    )
    whole = await engine.chat_completion(request)
    assert parts(whole) == wanted
    assert parts(await streamed(engine, request)) == wanted
    assert whole.usage is not None
    assert await engine.count_tokens(request) == whole.usage.prompt_tokens


async def test_e78_a_named_tool_is_the_one_that_is_called(engine: InferenceEngine) -> None:
    for name in ("bash", "get_weather"):
        request = asked("hello-tools/nothink", tool_choice=ToolChoice("function", name))
        completion = await engine.chat_completion(request)
        calls = completion.choices[0].message.tool_calls or []
        assert {call.function.name for call in calls if call.function} == {name}
        assert completion.usage is not None
        assert await engine.count_tokens(request) == completion.usage.prompt_tokens


async def test_some_tool_is_called_when_one_must_be(engine: InferenceEngine) -> None:
    completion = await engine.chat_completion(
        asked("hello-tools/nothink", tool_choice=ToolChoice("required"))
    )
    assert completion.choices[0].message.tool_calls


async def test_e75_without_leave_nothing_is_called(engine: InferenceEngine) -> None:
    request = asked("call-Paris/nothink", tool_choice=ToolChoice("none"))
    completion = await engine.chat_completion(request)
    assert not completion.choices[0].message.tool_calls
    assert completion.choices[0].finish_reason == "stop"
    assert completion.usage is not None
    # the tools stay in the prompt, so that its cache holds
    assert completion.usage.prompt_tokens == await engine.count_tokens(asked("call-Paris/nothink"))


async def test_a_schema_is_followed(engine: InferenceEngine) -> None:
    schema = (
        b'{"type": "object", "properties": {"a": {"type": "integer", "minimum": 1, "maximum": 9}}, '
        b'"required": ["a"], "additionalProperties": false}'
    )
    form = JsonFormat(schema=msgspec.Raw(schema))
    completion = await engine.chat_completion(asked("hello/nothink", response_format=form))
    value = msgspec.json.decode(completion.choices[0].message.content or "", type=dict[str, int])
    assert list(value) == ["a"]


async def test_a_budget_of_thinking_is_kept(engine: InferenceEngine) -> None:
    free = await engine.chat_completion(asked("call-Paris"))
    bound = await engine.chat_completion(
        asked("call-Paris", reasoning=Reasoning(enabled=True, budget_tokens=2))
    )
    lengths = [len(one.choices[0].message.reasoning or "") for one in (free, bound)]
    assert lengths[1] < lengths[0]


async def test_the_prompt_cache_is_used_and_told(engine: InferenceEngine) -> None:
    request = asked("result-Lima/sys")
    await engine.chat_completion(request)
    usage = (await engine.chat_completion(request)).usage
    assert usage is not None
    assert usage.cached_tokens > usage.prompt_tokens // 2


async def test_usage_is_told_where_the_answer_is_cut_on_our_side(engine: InferenceEngine) -> None:
    request = asked("count", stop=["7, 8"])
    chunks = await read(await engine.stream_chat_completion(request))
    usage = [chunk.usage for chunk in chunks if chunk.usage is not None][-1]
    assert usage.prompt_tokens == await engine.count_tokens(request)
    uncut = (await engine.chat_completion(asked("count"))).usage
    assert uncut is not None
    # how far the engine gets before it hears of the cut is its own affair
    assert 20 < usage.completion_tokens <= uncut.completion_tokens
