"""A message in rounds as a value: what the streams and whole answers of the service do not reach."""

from __future__ import annotations

import msgspec
import pytest

from dragoman.engines.scripted import call_chunk, finish_chunk, text_chunk, usage_chunk
from dragoman.engines.whole import fold
from dragoman.errors import EngineFaultError
from dragoman.translate.answer import StreamOptions
from dragoman.translate.rounds import RoundPlan, RoundStream, WholeRounds
from dragoman.translate.usage import add_usage
from dragoman.wire.anthropic import response as out
from dragoman.wire.openai import ChatChunk, ChatMessage, ChatRequest

OPTIONS = StreamOptions(message_id="msg_1", model="m", max_tokens=100)
CALL = [call_chunk(0, name="web_search", arguments='{"query":"x"}'), finish_chunk()]


def plan() -> RoundPlan:
    chat = ChatRequest(model="m", messages=[ChatMessage(role="user", content="hi")])
    return RoundPlan(
        chat=chat, names=frozenset({"web_search"}), result_text=lambda _: "nothing", max_rounds=5
    )


def seal(text: str, visible: bool) -> str:
    return "sealed"


def begun(options: StreamOptions = OPTIONS) -> RoundStream:
    stream = RoundStream(options, seal, plan())
    stream.start(7)
    return stream


def nothing(call_id: str) -> out.ServerResultOut:
    return out.WebSearchToolResultOut(call_id, [])


def test_a_stream_knows_how_far_it_is() -> None:
    stream = begun()
    assert (stream.started_content, stream.stop_reason, stream.usage) == (False, None, None)
    stream.feed(CALL)
    assert stream.started_content
    stream.end()
    assert (stream.stop_reason, stream.finished, len(stream.calls)) == (None, False, 1)
    (call,) = stream.due
    _, chat = stream.give([nothing(call.our_id)])
    assert chat is not None
    assert stream.started_content
    assert stream.due == []
    stream.feed([text_chunk("So."), finish_chunk()])
    stream.end()
    assert (stream.stop_reason, stream.finished, stream.undelivered_calls) == ("end_turn", True, 0)
    assert stream.end() == b""


def test_calls_that_are_left_out_are_counted_over_all_rounds() -> None:
    stream = begun(msgspec.structs.replace(OPTIONS, parallel=False))
    two = [call_chunk(n, call_id=f"c{n}", name="web_search", arguments="{}") for n in (0, 1)]
    for _ in range(2):
        stream.feed([*two, finish_chunk()])
        stream.end()
        stream.give([nothing(call.our_id) for call in stream.due])
    assert (stream.undelivered_calls, len(stream.calls)) == (2, 2)
    assert len({call_id for call_id, _ in stream.calls}) == 2


def test_an_answer_that_is_not_complete_is_an_error() -> None:
    stream = begun()
    assert b"event: error" in stream.end()
    assert isinstance(stream.fault, EngineFaultError)
    assert stream.finished


def test_a_result_that_no_stream_can_hold_is_an_error() -> None:
    stream = begun()
    stream.feed(CALL)
    stream.end()
    (call,) = stream.due
    wrong = out.WebSearchToolResultOut(call.our_id, [out.WebSearchHitOut("\ud800", "u", "sealed")])
    data, chat = stream.give([wrong])
    assert (data.count(b"event: error"), chat) == (1, None)


def test_a_whole_answer_with_half_a_surrogate_pair_is_a_fault() -> None:
    with pytest.raises(EngineFaultError, match="not Unicode"):
        WholeRounds(OPTIONS, seal, plan()).take(
            fold([call_chunk(0, name="web_search", arguments='{"query":"\ud800"}'), finish_chunk()])
        )


def test_the_estimate_grows_with_what_rounds_add() -> None:
    whole = WholeRounds(msgspec.structs.replace(OPTIONS, input_estimate=10), seal, plan())
    chunks: list[ChatChunk] = CALL
    (call,) = whole.take(fold(chunks))
    whole.give([nothing(call.our_id)])
    whole.take(fold([text_chunk("So."), finish_chunk()]))
    # twice the estimate, and a token for four of the 20 characters of call and result
    assert whole.message().usage.input_tokens == 10 + 10 + 5


def test_counts_of_thinking_add_up_where_there_are_any() -> None:
    with_details = out.Usage(
        input_tokens=1, output_tokens=2, output_tokens_details=out.OutputTokensDetails(thinking_tokens=1)
    )
    without = out.Usage(input_tokens=3, output_tokens=4, cache_read_input_tokens=5)
    both = add_usage(with_details, without)
    assert both.output_tokens_details == out.OutputTokensDetails(thinking_tokens=1)
    assert (both.input_tokens, both.output_tokens, both.cache_read_input_tokens) == (4, 6, 5)
    assert add_usage(without, without).output_tokens_details is None
    assert add_usage(None, without) is without


def test_a_round_that_uses_all_tokens_with_a_whole_call_still_gives_its_result() -> None:
    stream = begun()
    stream.feed([*CALL[:1], finish_chunk("length"), usage_chunk(5, 100)])
    stream.end()
    (call,) = stream.due
    data, chat = stream.give([nothing(call.our_id)])
    assert chat is None
    assert b"web_search_tool_result" in data
    assert stream.stop_reason == "max_tokens"
