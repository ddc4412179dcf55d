"""Stop strings in streams of chunks: order, thinking, calls, late usage."""

from __future__ import annotations

from dragoman.engines.stops import StopFilter, StopMatcher
from dragoman.wire.openai import (
    ChatChunk,
    ChatDelta,
    ChatUsage,
    ChunkChoice,
    FunctionDelta,
    ToolCallDelta,
)


def chunk(delta: ChatDelta, finish_reason: str | None = None) -> ChatChunk:
    return ChatChunk(choices=[ChunkChoice(delta=delta, finish_reason=finish_reason)])


def call() -> list[ToolCallDelta]:
    return [ToolCallDelta(index=0, function=FunctionDelta(name="f", arguments="STOP"))]


def texts(chunks: list[ChatChunk]) -> list[str | None]:
    return [choice.delta.content for one in chunks for choice in one.choices]


def test_an_empty_stop_string_never_matches() -> None:
    matcher = StopMatcher([""])
    assert matcher.feed("abc") == "abc"
    assert matcher.matched is None


def test_nothing_comes_after_a_match() -> None:
    matcher = StopMatcher(["b"])
    assert matcher.feed("abc") == "a"
    assert matcher.feed("def") == ""


def test_thinking_is_not_searched() -> None:
    stop_filter = StopFilter(["STOP"])
    out = stop_filter.feed([chunk(ChatDelta(reasoning="a STOP b"))])
    assert out[0].choices[0].delta.reasoning == "a STOP b"
    assert not stop_filter.ended


def test_arguments_are_not_searched_and_held_text_comes_before_them() -> None:
    out = StopFilter(["STOP"]).feed([chunk(ChatDelta(content="a ST")), chunk(ChatDelta(tool_calls=call()))])
    assert texts(out) == ["a ", "ST", None]
    assert out[2].choices[0].delta.tool_calls == call()


def test_held_text_comes_before_thinking() -> None:
    out = StopFilter(["STOP"]).feed([chunk(ChatDelta(content="a ST")), chunk(ChatDelta(reasoning="hm"))])
    assert texts(out) == ["a ", "ST", None]


def test_text_in_the_chunk_of_a_call_is_not_held() -> None:
    out = StopFilter(["STOP"]).feed([chunk(ChatDelta(content="a ST", tool_calls=call()))])
    assert texts(out) == ["a ST"]


def test_text_in_the_last_chunk_is_not_held() -> None:
    out = StopFilter(["STOP"]).feed([chunk(ChatDelta(content="a ST"), "stop")])
    assert texts(out) == ["a ST"]


def test_a_match_takes_the_call_of_its_chunk_with_it() -> None:
    out = StopFilter(["STOP"]).feed([chunk(ChatDelta(content="a STOP", tool_calls=call()))])
    choice = out[0].choices[0]
    assert (choice.delta.content, choice.delta.tool_calls) == ("a ", None)
    assert (choice.finish_reason, choice.matched_stop) == ("stop", "STOP")


def test_late_usage_still_counts_and_the_rest_does_not() -> None:
    stop_filter = StopFilter(["b"])
    usage = ChatUsage(prompt_tokens=1, completion_tokens=2)
    late = ChatChunk(choices=[ChunkChoice(delta=ChatDelta(content="x"))], usage=usage)
    out = stop_filter.feed([chunk(ChatDelta(content="ab")), chunk(ChatDelta(content="c")), late])
    out += stop_filter.feed([ChatChunk(usage=usage)])
    assert texts(out) == ["a"]
    assert [one.usage for one in out] == [None, usage, usage]


def test_a_stream_without_a_finish_gives_up_its_held_text() -> None:
    stop_filter = StopFilter(["STOP"])
    assert texts(stop_filter.feed([chunk(ChatDelta(content="ST"))])) == [""]
    assert texts(stop_filter.close()) == ["ST"]
    assert stop_filter.close() == []
