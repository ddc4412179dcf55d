"""Stop reasons as they failed for others: one test per field case, its number in the name."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from dragoman.engines.dialects.vllm import VLLMDialect
from dragoman.engines.stops import StopFilter
from dragoman.errors import EngineFaultError, InvalidRequestError
from dragoman.translate.stream import MessageStream
from dragoman.wire.anthropic.response import StopReason
from dragoman.wire.capabilities import EngineCapabilities
from dragoman.wire.openai import ChatChunk, ChatUsage
from dragoman.wire.openai_write import chat_body
from tests.support.answers import (
    blocks,
    called,
    completion,
    counted,
    ends,
    events,
    finished,
    joined,
    options,
    piece,
    read,
    said,
    seal,
    streamed,
    whole,
)
from tests.support.translation import translated

CALL = piece('{"a":1}', "f", "c")
CUT = piece('{"path":"/a","command":"rm -r', "f", "c")


def both_ends(chunks: list[ChatChunk], reason: str, matched: str | None = None, **said_: Any) -> Any:
    """The stop reason and sequence: streamed, which must equal whole."""
    answer = whole(completion(**said_, reason=reason, matched=matched))
    found = ends(streamed([*chunks, finished(reason, matched)]))
    assert found == (answer["stop_reason"], answer["stop_sequence"])
    return found


def test_c44_a_matched_stop_sequence_is_told() -> None:
    assert both_ends([said("a")], "stop", "END", content="a") == ("stop_sequence", "END")


def test_c45_a_named_tool_choice_that_ends_with_stop_is_a_call() -> None:
    assert both_ends([called(CALL)], "stop", tool_calls=[CALL]) == ("tool_use", None)


def test_c46_text_and_a_call_end_with_tool_use() -> None:
    chunks = [said("Let me see."), called(CALL)]
    assert both_ends(chunks, "stop", content="Let me see.", tool_calls=[CALL]) == ("tool_use", None)
    assert ends(streamed([called(CALL), said("after"), finished()])) == ("tool_use", None)


@pytest.mark.parametrize("call", [CUT, CALL])
def test_c47_max_tokens_is_told_also_inside_and_after_a_call(call: Any) -> None:
    assert both_ends([called(call)], "length", tool_calls=[call]) == ("max_tokens", None)


@pytest.mark.parametrize("reason", ["tool_calls", "stop"])
@pytest.mark.parametrize(
    ("calls", "inputs"),
    [
        ([CUT], [{"path": "/a"}]),
        ([piece("", "f", "c")], [{}]),
        ([CALL, piece('{"b":', "g", "d", 1)], [{"a": 1}, {}]),
        ([CALL, piece("", "g", "d", 1)], [{"a": 1}, {}]),
    ],
    ids=["inside the arguments", "after the name", "inside the second", "after the second's name"],
)
def test_c47_a_cut_that_the_engine_reports_as_tool_calls_is_told_by_the_count(
    reason: str, calls: list[Any], inputs: list[Any]
) -> None:
    usage = ChatUsage(prompt_tokens=10, completion_tokens=100)
    answer = whole(completion(reason=reason, tool_calls=calls, usage=usage))
    stream = MessageStream(options(), seal)
    raw = stream.start(1) + stream.feed([called(call) for call in calls])
    raw += stream.feed([finished(reason), ChatChunk(usage=usage)]) + stream.end()
    for found in (answer, read(raw)):
        assert [block["input"] for block in found["content"]] == inputs
        assert found["stop_reason"] == "max_tokens"
    assert [arguments for _, arguments in stream.calls] == ['{"a":1}'] * (len(calls) - 1)


def test_c47_a_cut_at_the_end_of_the_context_is_told_by_the_count() -> None:
    usage = ChatUsage(prompt_tokens=940, completion_tokens=50)
    answer = whole(completion(reason="stop", tool_calls=[CUT], usage=usage), context_length=1000)
    assert answer["stop_reason"] == "model_context_window_exceeded"


@pytest.mark.parametrize(
    ("prompt", "call", "reason"),
    [
        (900, piece("", "f", "c"), "tool_use"),
        (930, piece("", "f", "c"), "tool_use"),
        (949, piece("", "f", "c"), "tool_use"),
        (949, piece("{}", "f", "c"), "tool_use"),
        (949, piece("{", "f", "c"), "model_context_window_exceeded"),
        (950, piece("", "f", "c"), "model_context_window_exceeded"),
        (950, piece("{}", "f", "c"), "tool_use"),
    ],
)
def test_c47_near_the_end_of_the_context_a_call_without_arguments_is_whole(
    prompt: int, call: Any, reason: str
) -> None:
    usage = counted(prompt=prompt, completion=50)
    length = {"context_length": 1000}
    answer = whole(completion(reason="stop", tool_calls=[call], usage=usage.usage), **length)
    raw = streamed([called(call), finished("stop"), usage], **length)
    assert (answer["stop_reason"], ends(raw)[0]) == (reason, reason)
    assert [block["input"] for block in (*answer["content"], *blocks(raw))] == [{}, {}]


@pytest.mark.parametrize("call", [CALL, piece("{}", "f", "c")])
def test_c47_a_call_that_is_whole_at_the_last_token_is_a_call(call: Any) -> None:
    usage = ChatUsage(prompt_tokens=10, completion_tokens=100)
    assert whole(completion(reason="tool_calls", tool_calls=[call], usage=usage))["stop_reason"] == "tool_use"
    assert whole(completion("text", usage=usage))["stop_reason"] == "end_turn"


def test_c48_a_call_that_a_stop_string_cut_must_not_run() -> None:
    stream = MessageStream(options(), seal)
    raw = stream.start(1) + stream.feed([called(CUT), finished("stop", "m -r")]) + stream.end()
    assert ends(raw) == ("stop_sequence", "m -r")
    assert blocks(raw)[0]["input"] == {"path": "/a"}
    assert stream.calls == []


def test_c48_a_complete_call_before_a_stop_string_is_a_call() -> None:
    assert both_ends([called(CALL)], "stop", "END", tool_calls=[CALL]) == ("tool_use", None)


def test_c48_a_call_without_arguments_before_a_stop_string_is_a_call() -> None:
    raw = streamed([called(piece("", "f", "c")), said("more"), finished("stop", "END")])
    assert ends(raw) == ("tool_use", None)
    assert [block["input"] for block in blocks(raw) if block["type"] == "tool_use"] == [{}]


def test_c49_length_is_never_end_turn() -> None:
    assert both_ends([said("a")], "length", content="a") == ("max_tokens", None)
    assert both_ends([said(reasoning="a")], "length", reasoning="a") == ("max_tokens", None)


@pytest.mark.parametrize("reason", ["abort", "error", "parse_error", "cancelled"])
def test_c50_a_broken_answer_is_an_error_and_its_word_does_not_leak(reason: str) -> None:
    raw = streamed([said("a"), finished(reason)])
    assert events(raw)[-1]["type"] == "error"
    assert reason not in events(raw)[-1]["error"]["message"]
    with pytest.raises(EngineFaultError):
        whole(completion("a", reason=reason))


@pytest.mark.parametrize("reason", ["stop", "tool_calls", "length", "content_filter", "eos_token"])
def test_c50_every_other_reason_becomes_one_that_the_api_has(reason: str) -> None:
    assert ends(streamed([said("a"), finished(reason)]))[0] in get_args(StopReason)


def test_c51_stop_sequence_is_an_explicit_null_at_both_ends() -> None:
    found = {event["type"]: event for event in events(streamed([said("a"), finished()]))}
    assert found["message_start"]["message"]["stop_sequence"] is None
    assert found["message_delta"]["delta"]["stop_sequence"] is None


def test_c52_there_may_be_more_than_four_stop_sequences() -> None:
    stops = [f"stop {n}" for n in range(9)]
    chat = translated(stop_sequences=stops).chat
    assert chat.stop == stops
    able = EngineCapabilities(matched_stop=True, reasoning=False)
    # vLLM takes four: more are matched here, and none is sent
    assert VLLMDialect().matches_stops_here(chat, able)
    assert not VLLMDialect().matches_stops_here(translated(stop_sequences=stops[:4]).chat, able)


def test_c53_stop_sequences_leave_the_models_own_end_alone() -> None:
    """The engine that dropped the model's own end did so by itself; our part is to ask for no such thing."""
    plain, stopped = (chat_body(translated(stop_sequences=stops).chat) for stops in (None, ["END"]))
    assert set(stopped) - set(plain) == {"stop"}


def test_c54_a_stop_string_inside_thinking_does_not_cut_it() -> None:
    chunks = [said(reasoning="I will say END and "), said(reasoning="go on."), said("So: END not this")]
    stops = StopFilter(["END"])
    raw = streamed([*stops.feed([*chunks, finished()]), *stops.close()], display="summarized")
    assert joined(raw, "thinking") == "I will say END and go on."
    assert joined(raw, "text") == "So: "
    assert ends(raw) == ("stop_sequence", "END")


@pytest.mark.parametrize("stop", ["", " ", "\n\n"])
def test_c55_a_blank_stop_sequence_is_refused(stop: str) -> None:
    with pytest.raises(InvalidRequestError, match="stop_sequences"):
        translated(stop_sequences=["END", stop])


def test_c56_a_context_that_ended_first_is_told() -> None:
    usage = counted(prompt=90, completion=10)
    chunks = [said("a"), finished("length"), usage]
    assert ends(streamed(chunks, max_tokens=32000, context_length=100))[0] == "model_context_window_exceeded"
    assert ends(streamed(chunks, max_tokens=10, context_length=100))[0] == "max_tokens"
    answer = completion("a", reason="length", usage=usage.usage)
    assert whole(answer, max_tokens=32000)["stop_reason"] == "model_context_window_exceeded"
