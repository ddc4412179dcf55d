"""The service without any server: what somebody who embeds it gets."""

from __future__ import annotations

import asyncio
import inspect
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

import dragoman
from dragoman.engines.base import ChatStream
from dragoman.engines.scripted import (
    Delay,
    Fail,
    Hang,
    Script,
    ScriptedInferenceEngine,
    Scripts,
    Step,
    answer,
    call_chunk,
    finish_chunk,
    refuse,
    text_chunk,
    thinking_chunk,
    usage_chunk,
)
from dragoman.errors import EngineFaultError, NotFoundError, OverloadedError
from dragoman.routing.client import InferenceEngineClient
from dragoman.service import AnswerStream, MessagesService
from dragoman.settings import Settings
from dragoman.translate.signature import Signer
from dragoman.wire.anthropic.codec import decode_count, decode_messages
from dragoman.wire.identity import Caller
from dragoman.wire.openai import ChatChunk, ChatRequest

CALLER = Caller(request_id="req_1")
BODY = b'{"model":"claude-x","max_tokens":9,"messages":[{"role":"user","content":"Hi"}]}'
REQUEST = decode_messages(BODY)


@asynccontextmanager
async def service_over(
    scripts: Scripts, settings: Settings | None = None
) -> AsyncIterator[tuple[MessagesService, ScriptedInferenceEngine]]:
    """A service over a scripted engine."""
    settings = settings or Settings()
    engine = ScriptedInferenceEngine(scripts)
    client = InferenceEngineClient([engine], settings)
    await client.start()
    yield MessagesService(client, Signer([bytes(32)]), settings, ids=lambda prefix: f"{prefix}_1"), engine
    await client.aclose()


async def all_of(stream: AnswerStream) -> bytes:
    """A stream's bytes."""
    return b"".join([piece async for piece in stream])


async def test_a_whole_answer() -> None:
    async with service_over([answer("Hello.")]) as (service, _):
        given = await service.create(REQUEST, CALLER)
    assert (given.engine, given.message.id, given.message.model) == ("scripted", "msg_1", "claude-x")
    assert given.body.startswith(b'{"type":"message","id":"msg_1"')


async def test_a_stream_is_an_iterator_of_bytes() -> None:
    async with service_over([answer("Hello.")]) as (service, engine):
        stream = await service.stream(REQUEST, CALLER, size=len(BODY))
        written = await all_of(stream)
    assert stream.engine == "scripted"
    assert written.startswith(b"event: message_start\n")
    assert written.endswith(b'event: message_stop\ndata: {"type":"message_stop"}\n\n')
    assert engine.calls[0].outcome == "finished"


async def test_empty_reads_are_no_first_answer() -> None:
    script = Script(steps=[[], [], [usage_chunk(77, 0), text_chunk("a")], [], finish_chunk()])
    async with service_over([script]) as (service, _):
        written = await all_of(await service.stream(REQUEST, CALLER))
    head = written.partition(b"\n\n")[0]
    assert b'"input_tokens":77' in head
    assert written.endswith(b'{"type":"message_stop"}\n\n')


async def test_an_answer_of_nothing_is_an_error() -> None:
    class Empty(ChatStream):
        engine = "empty"

        async def __anext__(self) -> list[ChatChunk]:
            raise StopAsyncIteration

        async def aclose(self) -> None:
            return

    class EmptyEngine(ScriptedInferenceEngine):
        async def stream_chat_completion(self, request: ChatRequest) -> ChatStream:
            return Empty()

    client = InferenceEngineClient([EmptyEngine([])])
    await client.start()
    service = MessagesService(client, Signer([bytes(32)]), Settings(), ids=lambda prefix: f"{prefix}_1")
    written = await all_of(await service.stream(REQUEST, CALLER))
    await client.aclose()
    assert written.count(b"event: error") == 1
    assert b"message_stop" not in written


async def test_leaving_the_iterator_stops_the_engine() -> None:
    async with service_over([Script(steps=[text_chunk("a"), Hang()])]) as (service, engine):
        stream = await service.stream(REQUEST, CALLER)
        pieces = aiter(stream)
        assert b"message_start" in await anext(pieces)
        await pieces.aclose()  # type: ignore[attr-defined]  # an asynchronous generator
        assert engine.calls[0].outcome == "cancelled"


async def test_leaving_the_iterator_with_pieces_unread_ends() -> None:
    steps: list[Step] = [*(text_chunk(word) for word in "abcd"), Hang()]
    async with service_over([Script(steps=steps)]) as (service, engine):
        pieces = aiter(await service.stream(REQUEST, CALLER))
        await anext(pieces)
        for _ in range(20):
            await asyncio.sleep(0)
        async with asyncio.timeout(10):
            await pieces.aclose()  # type: ignore[attr-defined]  # an asynchronous generator
        assert engine.calls[0].outcome == "cancelled"


async def test_a_refusal_is_raised_before_the_first_byte() -> None:
    async with service_over([refuse(OverloadedError("full"))]) as (service, _):
        with pytest.raises(OverloadedError):
            await service.stream(REQUEST, CALLER)


async def test_a_stream_that_is_closed_before_it_played_stops_the_engine() -> None:
    settings = Settings(ping_interval=0.01)
    async with service_over([answer("Late.", wait=60)], settings) as (service, engine):
        stream = await service.stream(REQUEST, CALLER)
        await stream.aclose()
        await stream.aclose()
        assert engine.calls[0].outcome == "cancelled"
        assert stream.engine == "scripted"


async def test_cancelling_while_it_opens_stops_the_engine() -> None:
    async with service_over([answer("Late.", wait=60)]) as (service, engine):
        opening = asyncio.create_task(service.stream(REQUEST, CALLER))
        for _ in range(10):
            await asyncio.sleep(0)
        assert len(engine.calls) == 1
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        assert engine.calls[0].outcome == "cancelled"


async def test_a_failing_writer_stops_the_engine_and_is_not_hidden() -> None:
    async with service_over([Script(steps=[text_chunk("a"), Hang()])]) as (service, engine):
        stream = await service.stream(REQUEST, CALLER)

        async def write(data: bytes) -> None:
            raise BrokenPipeError

        with pytest.raises(BrokenPipeError):
            await stream.play(write)
        assert engine.calls[0].outcome == "cancelled"


HALF = "\ud83d"


@pytest.mark.parametrize(
    "chunk",
    [text_chunk(HALF), thinking_chunk(HALF), call_chunk(0, name="f", arguments=f'{{"a": "{HALF}"}}')],
    ids=["text", "thinking", "arguments"],
)
async def test_half_a_surrogate_pair_is_an_engine_fault_streamed_and_whole(chunk: ChatChunk) -> None:
    async with service_over([Script(steps=[chunk, finish_chunk()])] * 2) as (service, _):
        streamed = await all_of(await service.stream(REQUEST, CALLER))
        with pytest.raises(EngineFaultError, match="not Unicode") as raised:
            await service.create(REQUEST, CALLER)
    assert raised.value.message.encode() in streamed
    assert (
        b'dragoman_engine_errors_total{cause="api_error",engine="scripted"} 2.0' in service.metrics.render()
    )


async def test_a_writer_that_fails_at_a_ping_is_not_pinged_again() -> None:
    settings = Settings(ping_interval=0.01)
    script = Script(steps=[text_chunk("a"), Delay(0.2), text_chunk("b"), finish_chunk()])
    async with service_over([script], settings) as (service, _):
        stream = await service.stream(REQUEST, CALLER)
        pings = 0

        async def write(data: bytes) -> None:
            nonlocal pings
            if data.startswith(b"event: ping"):
                pings += 1
                raise BrokenPipeError

        await stream.play(write)
        assert pings == 1


async def test_after_its_end_a_stream_says_nothing_more() -> None:
    async with service_over([Script(steps=[text_chunk("a"), Fail(OverloadedError("full"))])]) as (service, _):
        stream = await service.stream(REQUEST, CALLER)
        written = await all_of(stream)
        assert written.count(b"event: error") == 1
        assert stream.fail(OverloadedError("again")) == b""


async def test_counting_and_models() -> None:
    async with service_over([answer("Hello.")]) as (service, _):
        counted = await service.count_tokens(decode_count(BODY), CALLER)
        given = await service.create(REQUEST, CALLER)
        assert counted.input_tokens == given.message.usage.input_tokens
        assert counted.original_input_tokens == counted.input_tokens
        assert [card.id for card in await service.models()] == ["scripted"]
        assert service.resolve("claude-anything") == "scripted"
        assert (await service.health()).status == "ok"
        with pytest.raises(NotFoundError):
            service.resolve("other")


async def test_thinking_is_signed_and_comes_home() -> None:
    async with service_over([answer("Hello.", thinking="Hm."), answer("Bye.")]) as (service, engine):
        given = await service.create(REQUEST, CALLER)
        body = BODY.replace(
            b'"messages":[{"role":"user","content":"Hi"}]',
            b'"messages":[{"role":"user","content":"Hi"},{"role":"assistant","content":'
            + given.body.partition(b'"content":')[2].partition(b',"stop_reason"')[0]
            + b'},{"role":"user","content":"Go on"}]',
        )
        await service.create(decode_messages(body), CALLER)
    assert [message.reasoning for message in engine.calls[1].request.messages] == [None, "Hm.", None]


def test_the_story_is_short() -> None:
    for method in (MessagesService.create, MessagesService.stream):
        lines = inspect.getsource(method).splitlines()
        assert len(lines) <= 15


def test_the_public_names_are_listed_before_they_are_imported() -> None:
    script = "import dragoman, sys; print(*dir(dragoman)); assert 'dragoman.server.app' not in sys.modules"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert set(dragoman.__all__) <= set(done.stdout.split())


@pytest.mark.parametrize("name", sorted(set(dragoman.__all__)))
def test_public_names_are_there(name: str) -> None:
    assert getattr(dragoman, name) is not None


def test_other_names_are_not() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = dragoman.nothing


async def test_an_engine_that_is_away_is_counted() -> None:
    settings = Settings()
    client = InferenceEngineClient([ScriptedInferenceEngine([])], settings)  # nobody looked at it yet
    service = MessagesService(client, Signer([bytes(32)]), settings, ids=lambda prefix: prefix)
    with pytest.raises(OverloadedError):
        service.resolve("claude-x")
    assert b'dragoman_engine_errors_total{cause="overloaded_error",engine=""} 1.0' in service.metrics.render()
