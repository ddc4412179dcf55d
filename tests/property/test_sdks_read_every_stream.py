"""Whatever chunks an engine sends, both SDKs read the stream as the same message as the whole answer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dragoman.engines.scripted import call_chunk, finish_chunk, text_chunk, thinking_chunk, usage_chunk
from dragoman.engines.whole import fold
from dragoman.translate.response import to_message
from dragoman.translate.stream import MessageStream, StreamOptions
from dragoman.wire.anthropic.response import MessageOut
from dragoman.wire.openai import ChatChunk
from tests.clients.python_sdk import PythonSDK
from tests.clients.sdk import SDK, blocks
from tests.clients.typescript import TypeScriptSDK

pytestmark = pytest.mark.clients

OPTIONS = StreamOptions(
    message_id="msg_1",
    model="m",
    request_id="req_1",
    display="summarized",
    max_tokens=1024,
    context_length=None,
    held_bytes=1 << 20,
)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
arguments = st.dictionaries(st.text(max_size=6), json_values, max_size=3).map(
    lambda value: msgspec.json.encode(value).decode()
)


@st.composite
def pieces(draw: st.DrawFn, text: str) -> list[str]:
    """A text cut anywhere, empty pieces included."""
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=4)))
    return [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]


@st.composite
def call(draw: st.DrawFn, index: int) -> list[ChatChunk]:
    """The chunks of one call: its name first or with its first arguments, its id once or on every piece."""
    parts = draw(pieces(draw(arguments | st.just(""))))
    call_id = draw(st.sampled_from([f"call_{index}", f"chatcmpl-tool-{index}", None]))
    again = draw(st.booleans())
    head = call_chunk(
        index, call_id=call_id, name="write", arguments=draw(st.sampled_from([None, "", parts[0]]))
    )
    sent = head.choices[0].delta.tool_calls
    assert sent is not None
    assert sent[0].function is not None
    rest = parts[1:] if sent[0].function.arguments == parts[0] and parts[0] else parts
    return [head, *(call_chunk(index, call_id=call_id if again else None, arguments=part) for part in rest)]


@st.composite
def merged(draw: st.DrawFn, lanes: list[list[ChatChunk]]) -> list[ChatChunk]:
    """The lanes in one sequence: each in its own order, mixed in any way."""
    lanes = [list(lane) for lane in lanes if lane]
    out: list[ChatChunk] = []
    while lanes:
        lane = lanes[draw(st.integers(0, len(lanes) - 1))] if draw(st.booleans()) else lanes[0]
        out.append(lane.pop(0))
        lanes = [lane for lane in lanes if lane]
    return out


words = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@st.composite
def answers(draw: st.DrawFn, *, in_order: bool) -> list[list[ChatChunk]]:
    """An engine's answer, batched as it was read.

    In order: thinking, text, then calls whose pieces are mixed, which is what a whole answer can say too.
    """
    thinking = [thinking_chunk(piece) for piece in draw(pieces(draw(words)))]
    text = [text_chunk(piece) for piece in draw(pieces(draw(words)))]
    calls = [draw(call(index)) for index in range(draw(st.integers(0, 3)))]
    chunks = thinking + text + draw(merged(calls)) if in_order else draw(merged([thinking, text, *calls]))
    chunks.append(finish_chunk(draw(st.sampled_from(["stop", "tool_calls", "length"]))))
    chunks.append(usage_chunk(draw(st.integers(1, 9999)), draw(st.integers(0, 2000))))
    batches: list[list[ChatChunk]] = [[]]
    for chunk in chunks:
        if draw(st.booleans()):
            batches.append([])
        batches[-1].append(chunk)
    return batches


def seal(text: str, visible: bool) -> str:
    """A signature that names what it covers."""
    return f"signature-of-{len(text)}-{visible}"


def streamed(batches: list[list[ChatChunk]]) -> bytes:
    """The bytes that a client receives."""
    stream = MessageStream(OPTIONS, seal)
    parts = [stream.start(7), *(stream.feed(batch) for batch in batches), stream.end()]
    assert stream.fault is None
    return b"".join(parts)


def read(sdk: SDK, batches: list[list[ChatChunk]]) -> dict[str, Any]:
    """The message that the SDK reads from the stream."""
    (found,) = sdk.read_streams([streamed(batches)])
    assert "error" not in found
    return dict(found["ok"])


@pytest.fixture(scope="module")
def node() -> Iterator[TypeScriptSDK]:
    """One Node.js process for all examples."""
    with TypeScriptSDK() as sdk:
        yield sdk


def as_json(message: MessageOut) -> dict[str, Any]:
    """The whole answer as a client receives it."""
    return dict(msgspec.json.decode(msgspec.json.encode(message)))


def same_as_the_whole_answer(sdk: SDK, batches: list[list[ChatChunk]]) -> None:
    """Fails unless the SDK's message is the non-streamed one."""
    whole, _ = to_message(fold(chunk for batch in batches for chunk in batch), OPTIONS, seal)
    expected = as_json(whole)
    message = read(sdk, batches)
    assert blocks(message) == blocks(expected)
    for field in ("id", "model", "role", "stop_reason", "stop_sequence"):
        assert message[field] == expected[field]
    for field in ("input_tokens", "output_tokens", "cache_read_input_tokens"):
        assert message["usage"][field] == expected["usage"][field]


@given(batches=answers(in_order=True))
@settings(max_examples=150)
def test_the_python_sdk_reads_every_stream(batches: list[list[ChatChunk]]) -> None:
    same_as_the_whole_answer(PythonSDK(), batches)


@given(batches=answers(in_order=True))
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_typescript_sdk_reads_every_stream(node: TypeScriptSDK, batches: list[list[ChatChunk]]) -> None:
    same_as_the_whole_answer(node, batches)


@given(batches=answers(in_order=False))
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_both_sdks_read_the_same_from_what_is_mixed(
    node: TypeScriptSDK, batches: list[list[ChatChunk]]
) -> None:
    same_as_the_whole_answer(PythonSDK(), batches)
    assert blocks(read(node, batches)) == blocks(read(PythonSDK(), batches))
