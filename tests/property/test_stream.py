"""Any sequence of chunks: legal events, one block per call, nothing lost, streamed and whole the same."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from dragoman.errors import DragomanError, EngineFaultError
from dragoman.translate.ids import call_id_in
from dragoman.translate.stream import MessageStream
from dragoman.wire.openai import (
    ChatChunk,
    ChatDelta,
    ChatUsage,
    ChunkChoice,
    CompletionTokensDetails,
    FunctionDelta,
    PromptTokensDetails,
    ToolCallDelta,
)
from tests.support import answers
from tests.support.answers import called, completion, finished, piece, said

# Letters, blanks, what JSON and SSE could trip over, a character of four bytes.
TEXT = st.text(alphabet='ab \n\r\t"\\{}é\u2028👩', min_size=1, max_size=8)
OBJECTS = st.dictionaries(
    st.text(max_size=4), st.none() | st.integers() | st.text(max_size=6) | st.lists(st.booleans()), max_size=3
)


@st.composite
def cut(draw: st.DrawFn, text: str) -> list[str]:
    """A text in pieces, empty ones among them."""
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=4)))
    return [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]


@st.composite
def argument_texts(draw: st.DrawFn) -> str:
    """The text of arguments: one object in any spelling, or nothing."""
    text = json.dumps(
        draw(OBJECTS), ensure_ascii=draw(st.booleans()), indent=draw(st.sampled_from([None, 1]))
    )
    return draw(st.sampled_from([text, f" {text}\n", ""]))


@st.composite
def one_call(draw: st.DrawFn, index: int) -> tuple[str, list[ToolCallDelta]]:
    """The arguments of a call, and its pieces as engines send them."""
    text = draw(argument_texts())
    parts = draw(cut(text))
    call_id = draw(st.sampled_from([f"call_{index}", "call_0", f"functions.f:{index}", None]))
    repeats = draw(st.booleans())
    head = draw(st.sampled_from(["alone", "with arguments", "in pieces", "late"]))
    pieces = [piece(part, call_id=call_id if repeats else None, index=index) for part in parts]
    if head == "late":
        pieces.append(piece(name="get_weather", call_id=call_id, index=index))
    elif head == "in pieces":
        pieces[:0] = [piece(name="get_", call_id=call_id, index=index), piece(name="weather", index=index)]
    elif head == "alone":
        pieces.insert(0, piece("", name="get_weather", call_id=call_id, index=index))
    else:
        pieces[0] = piece(parts[0], name="get_weather", call_id=call_id, index=index)
    return text, pieces


@st.composite
def merged(draw: st.DrawFn, sequences: list[list[Any]]) -> list[Any]:
    """Sequences in one, each in its own order."""
    places = draw(st.permutations([n for n, items in enumerate(sequences) for _ in items]))
    rest = [iter(items) for items in sequences]
    return [next(rest[n]) for n in places]


@st.composite
def interleaved(draw: st.DrawFn) -> tuple[str, str, list[str], list[ChatChunk]]:
    """Thinking, text and calls in any mixture: their texts, and the chunks."""
    thoughts, texts = draw(st.lists(TEXT, max_size=4)), draw(st.lists(TEXT, max_size=5))
    calls = [draw(one_call(index)) for index in range(draw(st.integers(0, 3)))]
    chunks = draw(
        merged(
            [
                [said(reasoning=thought) for thought in thoughts],
                [said(text) for text in texts],
                *([called(one) for one in pieces] for _, pieces in calls),
            ]
        )
    )
    return "".join(thoughts), "".join(texts), [text for text, _ in calls], [*chunks, finished("stop")]


@given(interleaved(), st.integers(1, 4))
def test_nothing_is_lost_whatever_the_order(
    given_: tuple[str, str, list[str], list[ChatChunk]], batch: int
) -> None:
    thought, text, calls, chunks = given_
    raw = answers.streamed(chunks, batch=batch)
    content = answers.blocks(raw)
    answers.kinds(raw)
    found = [block for block in content if block["type"] == "tool_use"]
    assert sorted(json.dumps(block["input"]) for block in found) == sorted(
        json.dumps(json.loads(arguments or "{}")) for arguments in calls
    )
    assert {block["name"] for block in found} <= {"get_weather"}
    assert len({block["id"] for block in found}) == len(calls)
    said_thought = "".join(block["thinking"] for block in content if block["type"] == "thinking")
    assert "".join(said_thought.split()) == "".join(thought.split())
    said_text = "".join(block["text"] for block in content if block["type"] == "text")
    assert "".join(said_text.split()) == "".join(text.split())


@given(interleaved())
def test_arguments_leave_as_the_model_wrote_them(
    given_: tuple[str, str, list[str], list[ChatChunk]],
) -> None:
    _, _, calls, chunks = given_
    stream = MessageStream(answers.options(), answers.seal)
    stream.start(1)
    stream.feed(chunks)
    stream.end()
    assert sorted(arguments for _, arguments in stream.calls) == sorted(
        text.removesuffix("\n") or "{}" for text in calls
    )


@st.composite
def canonical(draw: st.DrawFn) -> tuple[dict[str, Any], list[ChatChunk], str, str | int | None]:
    """A whole answer, and the same as chunks: thinking, text, calls one after the other."""
    thought, text = draw(TEXT | st.just("")), draw(TEXT | st.just(""))
    texts = [draw(argument_texts()) for _ in range(draw(st.integers(0, 3)))]
    reason = draw(st.sampled_from(["stop", "length", "content_filter", "tool_calls"]))
    matched = draw(st.sampled_from([None, None, "END", 128009]))
    chunks = [said(reasoning=part) for part in draw(cut(thought))] + [said(part) for part in draw(cut(text))]
    calls = []
    if texts and reason in ("length", "content_filter"):
        texts[-1] = texts[-1][: draw(st.integers(0, len(texts[-1])))]
    for index, arguments in enumerate(texts):
        calls.append(piece(arguments, name="f", call_id=f"c{index}", index=index))
        parts = draw(cut(arguments))
        chunks.append(called(piece(parts[0], name="f", call_id=f"c{index}", index=index)))
        chunks += [called(piece(part, index=index)) for part in parts[1:]]
    fields = {"content": text or None, "reasoning": thought or None, "tool_calls": calls or None}
    return fields, [*chunks, finished(reason, matched)], reason, matched


USAGES = st.none() | st.builds(
    ChatUsage,
    st.integers(0, 200),
    st.integers(0, 120),
    st.none() | st.builds(PromptTokensDetails, st.none() | st.integers(0, 200)),
    st.none() | st.builds(CompletionTokensDetails, st.none() | st.integers(0, 50)),
)
OPTIONS = st.fixed_dictionaries(
    {
        "display": st.sampled_from(["summarized", "omitted", "off"]),
        "max_tokens": st.sampled_from([0, 1, 100]),
        "context_length": st.sampled_from([None, 150, 1000]),
        "parallel": st.booleans(),
    }
)


@given(canonical(), USAGES, OPTIONS, st.integers(1, 5))
def test_streamed_and_whole_are_the_same_message(
    given_: tuple[dict[str, Any], list[ChatChunk], str, str | int | None],
    usage: ChatUsage | None,
    options: dict[str, Any],
    batch: int,
) -> None:
    fields, chunks, reason, matched = given_
    answer = completion(**fields, reason=reason, matched=matched, usage=usage)
    raw = answers.streamed([*chunks, ChatChunk(usage=usage)], batch=batch, **options)
    assert answers.read(raw) == answers.whole(answer, **options)
    answers.kinds(raw)


# Anything that the wire's types allow: half of it is no legal answer.
LOOSE_TEXT = st.none() | st.just("") | TEXT
LOOSE_PIECES = st.builds(
    ToolCallDelta,
    index=st.none() | st.integers(-1, 2),
    id=st.sampled_from([None, "", "call_0", "call_1", "ü"]),
    function=st.none()
    | st.builds(
        FunctionDelta,
        name=st.sampled_from([None, "", "f", "g"]),
        arguments=st.none() | st.sampled_from(["", " ", "{}", "{", "}", '{"a":', "1", "x", '"', "\\"]) | TEXT,
    ),
)
LOOSE_CHUNKS = st.builds(
    ChatChunk,
    choices=st.lists(
        st.builds(
            ChunkChoice,
            delta=st.builds(
                ChatDelta,
                content=LOOSE_TEXT,
                reasoning=LOOSE_TEXT,
                refusal=st.none() | TEXT,
                tool_calls=st.none() | st.lists(LOOSE_PIECES, max_size=3),
            ),
            index=st.sampled_from([0, 0, 0, 1]),
            finish_reason=st.sampled_from([None, None, None, None, "stop", "length", "tool_calls", "abort"]),
            matched_stop=st.sampled_from([None, "", "END", 2]),
        ),
        max_size=2,
    ),
    usage=USAGES,
)


@given(st.lists(st.lists(LOOSE_CHUNKS, max_size=3), max_size=8), OPTIONS, st.integers(0, 2000))
@example([[called(piece('{"a":', index=0), piece("{}", name="f", index=1))]], {}, 0)
def test_garbage_gives_a_legal_stream_or_one_error(
    reads: list[list[ChatChunk]], options: dict[str, Any], held_bytes: int
) -> None:
    stream = MessageStream(answers.options(held_bytes=held_bytes, **options), answers.seal)
    parts = [stream.ping(), stream.start(1)]
    for chunks in reads:
        parts += [stream.feed(chunks), stream.ping()]
    parts.append(stream.end())
    raw = b"".join(parts)
    walked = answers.kinds(raw)
    assert stream.finished
    assert walked[-1] == ("error" if stream.fault else "message_stop")
    assert stream.end() == stream.feed([said("x")]) == stream.ping() == b""
    outcome = _outcome(raw)
    assert isinstance(outcome, EngineFaultError) is isinstance(stream.fault, DragomanError)


def _outcome(raw: bytes) -> dict[str, Any] | EngineFaultError:
    try:
        return answers.read(raw)
    except EngineFaultError as error:
        return error


@given(st.lists(st.tuples(st.sampled_from([0, 1]), st.sampled_from(["call_0", "call_1"])), max_size=5))
def test_complete_calls_each_get_their_block_and_their_id(calls: list[tuple[int, str]]) -> None:
    # Engines that send whole calls number them all 0, or not at all; the id then tells them apart.
    distinct = list(dict.fromkeys(call_id for _, call_id in calls))
    chunks = [called(piece("{}", name="f", call_id=call_id, index=0)) for call_id in distinct]
    content = answers.blocks(answers.streamed([*chunks, finished("tool_calls")]))
    found = [call_id_in(block["id"]) for block in content if block["type"] == "tool_use"]
    assert found == distinct
