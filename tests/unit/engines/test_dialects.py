"""Dialects: what each writes and reads; answers are recorded forms of the servers."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
import pytest

from dragoman.engines.dialects import DIALECTS
from dragoman.engines.dialects.base import Reply, decode_answer
from dragoman.engines.dialects.repair import repaired
from dragoman.errors import (
    EngineFaultError,
)
from dragoman.wire.capabilities import EngineCapabilities
from dragoman.wire.openai import (
    ChatDelta,
    ChatMessage,
    ChatRequest,
    ChatTool,
    ChatUsage,
    FunctionCall,
    FunctionSpec,
    JsonFormat,
    PromptTokensDetails,
    Reasoning,
    ToolCall,
    ToolChoice,
)

ALL = EngineCapabilities(
    reasoning=True, reasoning_switch=True, matched_stop=True, counting=True, continuation=True
)
NOT_FOUND = Reply(404, b'{"detail":"Not Found"}')
TOOLS = [
    ChatTool(
        function=FunctionSpec(name=name, description="D", parameters=msgspec.Raw(b'{"type": "object" }'))
    )
    for name in ("f", "g")
]


def request(**changes: Any) -> ChatRequest:
    messages = changes.pop("messages", [ChatMessage(role="user", content="Hi")])
    return ChatRequest(model="m", messages=messages, **changes)


def written(
    name: str, asked: ChatRequest, *, stream: bool = False, counted: bool = False, caps: Any = ALL
) -> Any:
    return msgspec.json.decode(DIALECTS[name]().write(asked, caps, stream=stream, counted=counted))


def read_chunk(name: str, value: object) -> Any:
    dialect = DIALECTS[name]()
    chunk = decode_answer(msgspec.json.encode(value), dialect.chunk, msgspec.json.Decoder(dialect.chunk))
    dialect.read_chunk(chunk)
    return chunk


def read_whole(name: str, value: object) -> Any:
    dialect = DIALECTS[name]()
    kind = dialect.completion
    completion = decode_answer(msgspec.json.encode(value), kind, msgspec.json.Decoder(kind))
    dialect.read_completion(completion)
    return completion


# ---- writing ----


@pytest.mark.parametrize("name", DIALECTS)
def test_what_every_dialect_writes(name: str) -> None:
    asked = request(tools=TOOLS, hidden_tools=TOOLS[:1], max_tokens=9, temperature=0.5, top_p=0.9)
    asked = msgspec.structs.replace(asked, placement_key="secret", request_id="req_secret")
    body = DIALECTS[name]().write(asked, ALL, stream=True)
    assert b'"parameters":{"type": "object" }' in body
    assert b"secret" not in body
    value = msgspec.json.decode(body)
    assert [tool["function"]["name"] for tool in value["tools"]] == ["f", "g"]
    assert list(value["tools"][0]["function"]) == ["name", "description", "parameters"]
    assert (value["max_tokens"], value["temperature"], value["top_p"]) == (9, 0.5, 0.9)
    assert value["stream_options"]["include_usage"] is True
    whole = written(name, request())
    assert whole["stream"] is False
    assert {"stream_options", "tools", "max_tokens", "stop", "tool_choice"}.isdisjoint(whole)


@pytest.mark.parametrize("name", DIALECTS)
def test_history_travels_with_its_thinking_and_calls(name: str) -> None:
    call = ToolCall(id="c", function=FunctionCall(name="f", arguments='{"b": 1, "a": 2}'))
    messages = [
        ChatMessage(role="user", content="Hi"),
        ChatMessage(role="assistant", reasoning="Hm", tool_calls=[call]),
        ChatMessage(role="tool", content="ok", tool_call_id="c"),
        ChatMessage(role="assistant", reasoning="only this"),
    ]
    _, calling, result, thinking = written(name, request(messages=messages))["messages"]
    assert (calling["reasoning"], calling["reasoning_content"]) == ("Hm", "Hm")
    assert calling["tool_calls"][0]["function"]["arguments"] == '{"b": 1, "a": 2}'
    assert result == {"role": "tool", "content": "ok", "tool_call_id": "c"}
    assert (thinking["content"], thinking["reasoning"]) == ("", "only this")


def test_ollama_sees_no_tools_where_none_may_be_called() -> None:
    body = written("ollama", request(tools=TOOLS, tool_choice=ToolChoice("none"), parallel_tool_calls=False))
    assert {"tools", "tool_choice", "parallel_tool_calls"}.isdisjoint(body)


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        (name, mode)
        for name in DIALECTS
        for mode in ("auto", "none", "required")
        if (name, mode) != ("ollama", "none") and name != "transformers"
    ],
)
def test_choices_of_tools(name: str, mode: Literal["auto", "none", "required"]) -> None:
    asked = request(tools=TOOLS, tool_choice=ToolChoice(mode), parallel_tool_calls=False)
    body = written(name, asked)
    assert (body["tool_choice"], body["parallel_tool_calls"]) == (mode, False)
    assert len(body["tools"]) == 2


@pytest.mark.parametrize("name", DIALECTS)
def test_choices_without_tools(name: str) -> None:
    without = written(name, request(tool_choice=ToolChoice("none"), parallel_tool_calls=False))
    assert {"tool_choice", "parallel_tool_calls"}.isdisjoint(without)


def test_a_named_tool_is_forced_by_each_in_its_way() -> None:
    asked = request(tools=TOOLS, tool_choice=ToolChoice("function", "g"))
    for name in ("vllm", "sglang", "generic", "ollama"):
        assert written(name, asked)["tool_choice"] == {"type": "function", "function": {"name": "g"}}
    llama = written("llamacpp", asked)
    assert llama["tool_choice"] == "required"
    assert [tool["function"]["name"] for tool in llama["tools"]] == ["g"]


@pytest.mark.parametrize("name", DIALECTS)
def test_structured_output_keeps_its_schema(name: str) -> None:
    form = JsonFormat(schema=msgspec.Raw(b'{"b": 1, "a": 2}'))
    body = DIALECTS[name]().write(request(response_format=form), ALL, stream=False)
    assert b'"schema":{"b": 1, "a": 2}' in body


def test_the_thinking_switch() -> None:
    for enabled in (True, False):
        switch = {"enable_thinking": enabled, "thinking": enabled}
        asked = request(reasoning=Reasoning(enabled=enabled))
        for name in ("vllm", "sglang", "llamacpp"):
            assert written(name, asked)["chat_template_kwargs"] == switch
        assert "chat_template_kwargs" not in written("generic", asked)
    for name in DIALECTS:
        assert "chat_template_kwargs" not in written(name, request())
    asked = request(reasoning=Reasoning(enabled=True))
    unswitched = msgspec.structs.replace(ALL, reasoning_switch=False)
    assert "chat_template_kwargs" not in written("llamacpp", asked, caps=unswitched)


def test_vllms_effort_is_a_template_argument_for_the_count_too() -> None:
    body = written("vllm", request(reasoning=Reasoning(effort="max")))
    assert body["reasoning_effort"] == "high"
    assert body["chat_template_kwargs"] == {"reasoning_effort": "high", "enable_thinking": True}
    body = written("vllm", request(reasoning=Reasoning(enabled=False, effort="low")))
    assert body["chat_template_kwargs"] == {
        "reasoning_effort": "low",
        "enable_thinking": False,
        "thinking": False,
    }


def test_llamacpps_effort_is_a_template_argument() -> None:
    body = written("llamacpp", request(reasoning=Reasoning(enabled=True, effort="xhigh")))
    expected = {"enable_thinking": True, "thinking": True, "reasoning_effort": "high"}
    assert body["chat_template_kwargs"] == expected
    body = written("llamacpp", request(reasoning=Reasoning(effort="low")))
    assert body["chat_template_kwargs"] == {"reasoning_effort": "low"}


@pytest.mark.parametrize("name", ["generic", "sglang"])
def test_effort_in_the_plain_form(name: str) -> None:
    body = written(name, request(reasoning=Reasoning(effort="low")))
    assert body["reasoning_effort"] == "low"
    assert "chat_template_kwargs" not in body


def test_a_budget_of_thinking() -> None:
    assert (
        written("llamacpp", request(reasoning=Reasoning(enabled=True, budget_tokens=5)))[
            "thinking_budget_tokens"
        ]
        == 5
    )
    for reasoning in (Reasoning(enabled=False, budget_tokens=5), Reasoning(enabled=True)):
        assert "thinking_budget_tokens" not in written("llamacpp", request(reasoning=reasoning))


@pytest.mark.parametrize(
    ("reasoning", "thinks", "effort"),
    [
        (Reasoning(), True, None),
        (Reasoning(enabled=False), True, "none"),
        (Reasoning(enabled=True), True, "medium"),
        (Reasoning(enabled=True, effort="high"), True, "high"),
        (Reasoning(enabled=True, effort="high"), False, None),
    ],
)
def test_ollamas_effort(reasoning: Reasoning, thinks: bool, effort: str | None) -> None:
    caps = msgspec.structs.replace(ALL, reasoning=thinks)
    assert written("ollama", request(reasoning=reasoning), caps=caps).get("reasoning_effort") == effort


def test_top_k_goes_where_it_is_known() -> None:
    knowing = {name for name in DIALECTS if "top_k" in written(name, request(top_k=5))}
    assert knowing == {"vllm", "sglang", "llamacpp"}


def test_the_continuation_of_a_last_turn() -> None:
    asked = request(continue_final=True)
    vllm = written("vllm", asked)
    assert (vllm["continue_final_message"], vllm["add_generation_prompt"]) == (True, False)
    assert written("sglang", asked)["continue_final_message"] is True
    # it continues by itself, and repeats the turn in a whole answer, but not in a stream
    assert "continue_final_message" not in written("llamacpp", asked)
    assert [name for name in DIALECTS if DIALECTS[name]().needs_stream(asked)] == ["llamacpp", "transformers"]


def test_usage_comes_with_every_chunk_where_the_stream_may_be_cut() -> None:
    for name in ("vllm", "sglang"):
        assert written(name, request(), stream=True, counted=True)["stream_options"]["continuous_usage_stats"]
        assert "continuous_usage_stats" not in written(name, request(), stream=True)["stream_options"]
    assert written("llamacpp", request(), stream=True, counted=True)["timings_per_token"]
    assert "timings_per_token" not in written("llamacpp", request(), stream=True)


def test_llamacpp_is_asked_for_progress_the_stop_and_its_cache() -> None:
    body = written("llamacpp", request(stop=["x"]), stream=True)
    assert (body["return_progress"], body["verbose"], body["cache_prompt"]) == (True, True, True)
    assert "verbose" not in written("llamacpp", request())


@pytest.mark.parametrize(
    ("name", "caps", "reasoning", "here"),
    [
        ("vllm", ALL, Reasoning(enabled=False), False),
        ("vllm", ALL, Reasoning(), True),
        ("vllm", msgspec.structs.replace(ALL, reasoning=False), Reasoning(), False),
        ("vllm", msgspec.structs.replace(ALL, reasoning_switch=False), Reasoning(enabled=False), True),
        ("generic", EngineCapabilities(), Reasoning(), True),
    ],
)
def test_where_stop_strings_are_matched(
    name: str, caps: EngineCapabilities, reasoning: Reasoning, here: bool
) -> None:
    dialect = DIALECTS[name]()
    assert dialect.matches_stops_here(request(stop=["x"], reasoning=reasoning), caps) is here
    assert not dialect.matches_stops_here(request(reasoning=reasoning), caps)


def test_c52_more_stop_strings_than_a_server_takes_are_matched_here() -> None:
    five = request(stop=list("vwxyz"), reasoning=Reasoning(enabled=False))
    assert [name for name in DIALECTS if DIALECTS[name]().matches_stops_here(five, ALL)] == ["vllm"]


# ---- reading ----


def delta(value: dict[str, Any], **choice: Any) -> dict[str, Any]:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "choices": [{"index": 0, "delta": value, **choice}],
    }


@pytest.mark.parametrize("name", DIALECTS)
@pytest.mark.parametrize("field", ["reasoning", "reasoning_content"])
def test_thinking_is_read_from_either_field(name: str, field: str) -> None:
    chunk = read_chunk(name, delta({field: "Hm"}))
    assert (chunk.choices[0].delta.reasoning, chunk.choices[0].delta.reasoning_content) == ("Hm", None)
    both = read_chunk(name, delta({"reasoning": "Hm", "reasoning_content": "Hm"}))
    assert (both.choices[0].delta.reasoning, both.choices[0].delta.reasoning_content) == ("Hm", None)


@pytest.mark.parametrize("name", DIALECTS)
def test_an_empty_finish_reason_is_none(name: str) -> None:
    assert read_chunk(name, delta({"content": "a"}, finish_reason="")).choices[0].finish_reason is None


@pytest.mark.parametrize(
    ("name", "told", "matched"),
    [
        ("vllm", {"stop_reason": "7, 8"}, "7, 8"),
        ("vllm", {"stop_reason": 151645}, None),
        ("vllm", {"stop_reason": None}, None),
        ("sglang", {"matched_stop": "7, 8"}, "7, 8"),
        ("sglang", {"matched_stop": 151645}, None),
        ("sglang", {"matched_stop": None}, None),
    ],
)
def test_the_stop_that_matched(name: str, told: dict[str, Any], matched: str | None) -> None:
    chunk = read_chunk(name, delta({}, finish_reason="stop", **told))
    answer = {"choices": [{"index": 0, "message": {"content": "a"}, "finish_reason": "stop", **told}]}
    for choice in (chunk.choices[0], read_whole(name, answer).choices[0]):
        assert (choice.matched_stop, choice.stop_reason) == (matched, None)


@pytest.mark.parametrize(("word", "matched"), [("7, 8", "7, 8"), ("", None)])
def test_llamacpps_stop_that_matched(word: str, matched: str | None) -> None:
    verbose = {"__verbose": {"stop_type": "word", "stopping_word": word, "prompt": "..."}}
    chunk = read_chunk("llamacpp", {**delta({}, finish_reason="stop"), **verbose})
    answer = {"choices": [{"message": {"content": "a"}, "finish_reason": "stop"}], **verbose}
    assert chunk.choices[0].matched_stop == matched
    assert read_whole("llamacpp", answer).choices[0].matched_stop == matched
    assert read_chunk("llamacpp", {"choices": [], **verbose}).choices == []


def test_llamacpps_progress_and_timings_are_usage() -> None:
    progress = {"prompt_progress": {"total": 12, "cache": 11, "processed": 11, "time_ms": 0}}
    timings = {"timings": {"cache_n": 11, "prompt_n": 1, "predicted_n": 3, "predicted_ms": 1.5}}
    chunk = read_chunk("llamacpp", {**delta({"role": "assistant", "content": None}), **progress, **timings})
    assert chunk.usage == ChatUsage(12, 0, PromptTokensDetails(11))
    chunk = read_chunk("llamacpp", {**delta({"content": "a"}), **timings})
    assert chunk.usage == ChatUsage(12, 3, PromptTokensDetails(11))
    last = {"choices": [], "usage": {"prompt_tokens": 12, "completion_tokens": 4}, **timings}
    assert read_chunk("llamacpp", last).usage == ChatUsage(12, 4)
    assert read_chunk("llamacpp", delta({"content": "a"})).usage is None


@pytest.mark.parametrize("name", DIALECTS)
def test_small_departures_are_mended(name: str) -> None:
    call = {"id": 7, "index": 0, "function": {"name": "f", "arguments": {"a": 1}}}
    chunk = read_chunk(name, {**delta({"tool_calls": [call], "content": None}), "id": None, "model": None})
    function = chunk.choices[0].delta.tool_calls[0].function
    assert (function.arguments, chunk.choices[0].delta.tool_calls[0].id) == ('{"a":1}', "7")
    for bare in ({"index": 0, "finish_reason": "stop"}, {"delta": None, "finish_reason": "stop"}):
        chunk = read_chunk(name, {"choices": [bare]})
        assert (chunk.choices[0].delta, chunk.choices[0].finish_reason) == (ChatDelta(), "stop")
    assert repaired([1, None, {"arguments": None}]) == [1, None, {}]
    with pytest.raises(EngineFaultError):
        read_chunk(name, {"choices": {"a": 1}})
