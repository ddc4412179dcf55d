"""Rounds of any shape: calls for either side, cut, filtered, under limits; a stream is the whole answer."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from dragoman.engines.scripted import call_chunk, finish_chunk, text_chunk, thinking_chunk, usage_chunk
from dragoman.engines.whole import fold
from dragoman.translate.answer import StreamOptions
from dragoman.translate.delivered import delivered_stream, delivered_whole
from dragoman.translate.rounds import RoundPlan, RoundStream, WholeRounds
from dragoman.translate.server_results import ResultReader
from dragoman.wire.anthropic.blocks import ContentBlock
from dragoman.wire.anthropic.response import MessageOut
from dragoman.wire.openai import ChatChunk, ChatRequest
from tests.property.test_rounds import HERE, found, no_tool, seal, turns_of, words
from tests.support.rounds import events, unsealed
from tests.support.server_tools import WEB_SEARCH
from tests.support.translation import SIGNER, assistant, tool, translated, user

Round = list[ChatChunk]
TOOLS = [WEB_SEARCH, tool("f"), tool("web_search_mine")]
END: Round = [text_chunk("end"), finish_chunk()]
ENDS = [("stop", None)] * 4 + [
    ("tool_calls", None),
    ("length", None),
    ("content_filter", None),
    ("stop", "#"),
]


class Limits(NamedTuple):
    """What bounds the message."""

    max_tokens: int
    parallel: bool
    max_rounds: int
    display: Any


limits = st.builds(
    Limits,
    st.sampled_from([0, 1, 70, 100_000]),
    st.booleans(),
    st.sampled_from([1, 2, 9]),
    st.sampled_from(["off", "omitted", "summarized"]),
)


@st.composite
def rounds(draw: st.DrawFn, names: tuple[str, ...] = ("web_search", "f")) -> Round:
    """One answer of the engine, with calls by these names; what is not whole ends in a way that allows it."""
    chunks: Round = []
    reason, matched = draw(st.sampled_from(ENDS))
    is_cut = reason in {"length", "content_filter"} or matched is not None
    for index in range(draw(st.integers(0, 5))):
        kind = draw(st.sampled_from(["text", "thinking", *names]))
        if kind in {"text", "thinking"}:
            chunks.append({"text": text_chunk, "thinking": thinking_chunk}[kind](draw(words)))
            continue
        spelled = msgspec.json.encode({"query": draw(words)}).decode()
        shown = draw(st.integers(0, len(spelled))) if is_cut else len(spelled)
        call_id = draw(st.sampled_from([None, "call_0", f"c-{index}"]))
        chunks.append(call_chunk(index, call_id=call_id, name=kind, arguments=spelled[:shown]))
        if shown < len(spelled):
            break
    chunks.append(finish_chunk(reason, matched))
    counts = draw(st.none() | st.tuples(st.integers(1, 50), st.integers(0, 60)))
    return chunks if counts is None else [*chunks, usage_chunk(*counts)]


def plan_and_options(bounds: Limits) -> tuple[RoundPlan, StreamOptions]:
    prompt = translated(HERE, messages=[user("hi")], tools=TOOLS, max_tokens=bounds.max_tokens).chat
    read = ResultReader(SIGNER.open, no_tool).own
    plan = RoundPlan(
        chat=prompt, names=frozenset({"web_search"}), result_text=read, max_rounds=bounds.max_rounds
    )
    options = StreamOptions(
        message_id="msg_1",
        model="m",
        max_tokens=bounds.max_tokens,
        parallel=bounds.parallel,
        display=bounds.display,
    )
    return plan, options


def whole(said: list[Round], bounds: Limits) -> tuple[MessageOut, list[ChatRequest], dict[str, str]]:
    """The message, its prompts, and the calls as they were spelled."""
    plan, options = plan_and_options(bounds)
    played, prompts = WholeRounds(options, seal, plan), [plan.chat]
    for chunks in said:
        due = played.take(fold(chunks))
        following = played.give(found(due)) if due else None
        if following is None:
            break
        prompts.append(following)
    return played.message(), prompts, dict(played.calls)


def streamed(said: list[Round], bounds: Limits) -> bytes:
    plan, options = plan_and_options(bounds)
    stream = RoundStream(options, seal, plan)
    pieces = [stream.start(7)]
    for chunks in said:
        pieces += [*(stream.feed([chunk]) for chunk in chunks), stream.end()]
        if stream.due:
            pieces.append(stream.give(found(stream.due))[0])
        if stream.finished:
            break
    assert stream.fault is None
    assert stream.finished
    return b"".join(pieces)


def plain(content: list[ContentBlock]) -> list[dict[str, Any]]:
    return unsealed(msgspec.json.decode(msgspec.json.encode(content)))


@given(said=st.lists(rounds(), min_size=1, max_size=4), bounds=limits)
@settings(max_examples=200)
def test_a_stream_is_the_whole_answer_and_prompts_extend(said: list[Round], bounds: Limits) -> None:
    said = [*said, END]
    message, prompts, spelled = whole(said, bounds)
    stream = streamed(said, bounds)
    assert plain(delivered_stream(stream)) == plain(delivered_whole(message.content))
    made: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(message))
    (end,) = [event for event in events(stream) if event["type"] == "message_delta"]
    assert end["delta"]["stop_reason"] == made["stop_reason"]
    assert end["delta"]["stop_sequence"] == made["stop_sequence"]
    assert end["usage"]["output_tokens"] == made["usage"]["output_tokens"]
    assert end["usage"]["server_tool_use"] == made["usage"]["server_tool_use"]
    if made["content"]:
        prompts.append(replayed(made["content"], spelled))
    for before, after in pairwise(prompts):
        assert turns_of(after)[: len(before.messages)] == turns_of(before)


def replayed(content: list[dict[str, Any]], spelled: dict[str, str]) -> ChatRequest:
    """The prompt of the next turn, in which the message came back and its client's calls are answered."""
    results = [
        {"type": "tool_result", "tool_use_id": block["id"], "content": "r"}
        for block in content
        if block["type"] == "tool_use"
    ]
    turns = [user("hi"), assistant(*content), user(*results, {"type": "text", "text": "And now?"})]
    return translated(HERE | {"spelling": spelled.get}, messages=turns, tools=TOOLS).chat


@given(said=st.lists(rounds(), min_size=1, max_size=4), bounds=limits)
@settings(max_examples=200)
def test_results_follow_their_calls_each_once(said: list[Round], bounds: Limits) -> None:
    message, _, _ = whole([*said, END], bounds)
    blocks = plain(delivered_whole(message.content))
    calls = [block["id"] for block in blocks if block["type"] in {"server_tool_use", "tool_use"}]
    ours = [block["id"] for block in blocks if block["type"] == "server_tool_use"]
    given = [block["tool_use_id"] for block in blocks if "tool_use_id" in block]
    assert len(set(calls)) == len(calls)
    assert len(set(given)) == len(given)
    assert set(given) <= set(ours)
    # what ends on its own leaves no call of ours open
    is_whole = message.stop_reason in {"end_turn", "tool_use", "pause_turn"}
    assert not is_whole or set(given) == set(ours)
    assert message.stop_reason != "pause_turn" or blocks[-1]["type"] == "web_search_tool_result"


# Names that are like that of the tool that runs here, declared by the client or not at all.
NAMES = ("web_search", "f", "web_search_mine", "Web_Search", "search", "never_declared")
OURS = frozenset({"web_search"})


def calls_in(content: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """The type and the name of each block that is a call, whatever kind of one."""
    return [(block["type"], block["name"]) for block in content if "name" in block]


def calls_said(said: list[Round]) -> list[str]:
    """The names that the engine called by, in order."""
    return [
        piece.function.name
        for chunks in said
        for chunk in chunks
        for choice in chunk.choices
        for piece in choice.delta.tool_calls or ()
        if piece.function is not None and piece.function.name
    ]


@given(said=st.lists(rounds(NAMES), min_size=1, max_size=4), bounds=limits)
@settings(max_examples=200)
def test_no_name_of_a_tool_that_runs_here_reaches_the_client_as_a_tool_of_its_own(
    said: list[Round], bounds: Limits
) -> None:
    message, prompts, _ = whole([*said, END], bounds)
    stream = streamed([*said, END], bounds)
    # as the client puts it together, as it is told in the stream, and as it comes whole
    begun = [event["content_block"] for event in events(stream) if event["type"] == "content_block_start"]
    made: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(message))
    shown = [calls_in(begun), calls_in(made["content"]), calls_in(plain(delivered_stream(stream)))]
    for calls in shown:
        assert [kind for kind, name in calls if (kind == "server_tool_use") != (name in OURS)] == []
        assert {kind for kind, _ in calls} <= {"server_tool_use", "tool_use"}
    assert shown[0] == shown[1] == shown[2]
    # they are the engine's calls, in its order, none made up and none by another name
    left = iter(calls_said(said))
    assert all(any(name == other for other in left) for _, name in shown[0])
    # the client is asked to go on only where there is a call for it to answer
    own = [name for kind, name in shown[0] if kind == "tool_use"]
    assert message.stop_reason != "tool_use" or own
    # and what is asked of the engine next answers calls of ours alone
    for prompt in prompts[1:]:
        called = {
            call.id: call.function.name
            for turn in prompt.messages
            for call in turn.tool_calls or ()
            if call.id
        }
        answered = [called[turn.tool_call_id] for turn in prompt.messages if turn.tool_call_id in called]
        assert set(answered) <= OURS
