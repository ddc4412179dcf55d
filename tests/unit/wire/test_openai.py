"""The neutral chat form: what engines send is read, what is written is read back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from dragoman.wire.capabilities import EngineCapabilities
from dragoman.wire.identity import Caller, SessionKey
from dragoman.wire.openai import (
    ChatAnswer,
    ChatChoice,
    ChatChunk,
    ChatCompletion,
    ChatDelta,
    ChatMessage,
    ChatRequest,
    ChatTool,
    ChatUsage,
    ChunkChoice,
    CompletionTokensDetails,
    FunctionCall,
    FunctionDelta,
    FunctionSpec,
    ImagePart,
    ImageURL,
    Part,
    PromptTokensDetails,
    TextPart,
    ToolCall,
    ToolCallDelta,
)


def chunk(sent: Any) -> ChatChunk:
    """A chunk as an engine's bytes give it."""
    return msgspec.json.decode(msgspec.json.encode(sent), type=ChatChunk)


def only_choice(found: ChatChunk) -> ChunkChoice:
    """The one choice of a chunk that has an id and a model too."""
    assert (found.id, found.model, len(found.choices)) == ("chatcmpl-1", "m", 1)
    return found.choices[0]


# The shapes in which each engine sends the same things.
RECORDED = msgspec.json.decode(Path(__file__).with_name("engine_chunks.json").read_bytes())
CHUNKS: dict[str, list[Any]] = RECORDED["chunks"]


@pytest.mark.parametrize("engine", CHUNKS)
def test_the_chunks_of_an_engine_are_read(engine: str) -> None:
    opening, thinking, call, stop, usage = map(chunk, CHUNKS[engine])
    assert only_choice(opening).delta.role == "assistant"
    assert not only_choice(opening).delta.content
    thought = only_choice(thinking).delta
    assert (thought.reasoning or thought.reasoning_content) == "The"
    calls = only_choice(call).delta.tool_calls
    assert calls is not None
    assert (calls[0].index, bool(calls[0].id)) == (0, True)
    assert calls[0].function == FunctionDelta(name="get_weather", arguments="{")
    assert only_choice(stop).finish_reason == "stop"
    assert (usage.choices, usage.usage) == ([], ChatUsage(194, 49, PromptTokensDetails(193)))


@pytest.mark.parametrize(("engine", "matched"), [("llamacpp", None), ("vllm", "END"), ("sglang", "END")])
def test_the_matched_stop_is_where_the_engine_says_it(engine: str, matched: str | None) -> None:
    stop = only_choice(chunk(CHUNKS[engine][3]))
    assert (stop.matched_stop or stop.stop_reason) == matched


def test_a_matched_stop_may_be_a_token() -> None:
    stop = chunk({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop", "matched_stop": 151645}]})
    assert stop.choices[0].matched_stop == 151645


def test_a_whole_answer_is_read() -> None:
    answer = msgspec.convert(RECORDED["answer"], ChatCompletion)
    call = ToolCallDelta(id="IF3bWAFok", function=FunctionDelta("get_weather", '{"city": "Paris"}'))
    message = ChatAnswer(
        role="assistant",
        content="Let me check.\n",
        reasoning_content="The user wants the weather.\n",
        tool_calls=[call],
    )
    assert answer == ChatCompletion(
        choices=[ChatChoice(message=message, finish_reason="tool_calls")],
        usage=ChatUsage(194, 49, PromptTokensDetails(193), CompletionTokensDetails(12)),
        id="chatcmpl-1",
        model="m",
    )


@pytest.mark.parametrize(
    ("usage", "cached"),
    [
        (b"{}", 0),
        (b'{"prompt_tokens_details":null}', 0),
        (b'{"prompt_tokens_details":{}}', 0),
        (b'{"prompt_tokens_details":{"cached_tokens":null,"audio_tokens":0}}', 0),
        (b'{"prompt_tokens_details":{"cached_tokens":7}}', 7),
    ],
)
def test_cached_tokens_are_zero_unless_the_engine_says_so(usage: bytes, cached: int) -> None:
    assert msgspec.json.decode(usage, type=ChatUsage).cached_tokens == cached


@pytest.mark.parametrize(
    ("content", "images"),
    [
        ("text", False),
        (None, False),
        ([TextPart("a")], False),
        ([TextPart("a"), ImagePart(ImageURL("data:image/png;base64,AA=="))], True),
    ],
)
def test_a_request_knows_whether_it_holds_images(content: str | list[Part] | None, images: bool) -> None:
    request = ChatRequest(model="m", messages=[ChatMessage(role="user", content=content)])
    assert request.has_images is images


def test_messages_and_tools_are_written_with_what_was_said() -> None:
    call = ToolCall("call_1", FunctionCall("f", '{"a": 1}'))
    message = ChatMessage(role="assistant", tool_calls=[call])
    assert msgspec.json.decode(msgspec.json.encode(message)) == {
        "role": "assistant",
        "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
        ],
    }
    assert msgspec.json.decode(msgspec.json.encode(message), type=ChatMessage) == message
    tool = ChatTool(function=FunctionSpec(name="f", parameters=msgspec.Raw(b'{ "type":"object" }')))
    assert (
        msgspec.json.encode(tool)
        == b'{"type":"function","function":{"name":"f","parameters":{ "type":"object" }}}'
    )
    assert msgspec.json.encode(TextPart("a")) == b'{"type":"text","text":"a"}'


def test_a_delta_says_nothing_by_itself() -> None:
    assert msgspec.json.decode(b"{}", type=ChatDelta) == ChatDelta()


def test_a_caller_is_placed_by_session_and_scope() -> None:
    session = SessionKey("s1", "x-session-id")
    assert Caller(request_id="req_1").placement_key is None
    assert Caller(request_id="req_1", scope="alice", session=session).placement_key == "alice\0s1"
    assert session.durable


def test_capabilities_promise_nothing_that_was_not_found() -> None:
    found = EngineCapabilities()
    assert found.context_length is None
    assert not any([found.images, found.reasoning, found.counting, found.token_door])
