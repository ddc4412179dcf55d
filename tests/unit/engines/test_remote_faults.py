"""The remote engine when the server fails: every way, in one of our errors, with nothing of it shown."""

from __future__ import annotations

import asyncio
import errno
import socket
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest

from dragoman.engines.base import EngineUnreachableError
from dragoman.engines.remote import RemoteInferenceEngine
from dragoman.engines.transport import error_of_client
from dragoman.errors import (
    DragomanError,
    EngineConfigurationError,
    EngineFaultError,
    EngineTimeoutError,
    InvalidRequestError,
    OverloadedError,
    RateLimitError,
    RequestTooLargeError,
)
from dragoman.settings import EngineEntry, Timeouts
from tests.support.fake_openai import (
    DONE,
    Answer,
    Cut,
    FakeOpenAI,
    Hang,
    Raw,
    chunk,
    event,
    events,
    hello,
    reply,
    usage,
    whole,
)
from tests.unit.engines.remotes import ask, read, remote, text_of, until

SECRET = "secret-7f3 at /srv/engine.py line 12"
HTML = f"<html><body>{SECRET}</body></html>".encode()


async def fails(
    engine: Any, answer: Answer, fake: FakeOpenAI, *, whole_too: bool = True
) -> list[DragomanError]:
    """The errors of a streamed and a whole request that get this answer."""
    errors = []
    for attempt in (engine.stream_chat_completion, engine.chat_completion)[: 1 + whole_too]:
        fake.chat(answer)
        with pytest.raises(DragomanError) as raised:
            await attempt(ask())
        errors.append(raised.value)
    return errors


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, InvalidRequestError),
        (422, InvalidRequestError),
        (401, EngineConfigurationError),
        (403, EngineConfigurationError),
        (404, EngineConfigurationError),
        (408, EngineTimeoutError),
        (413, RequestTooLargeError),
        (429, RateLimitError),
        (500, EngineFaultError),
        (502, EngineFaultError),
        (503, OverloadedError),
        (504, EngineTimeoutError),
        (302, EngineFaultError),
    ],
)
async def test_a_refusal_is_told_by_its_status(status: int, kind: type[DragomanError]) -> None:
    body = {"error": {"message": SECRET, "type": "SomeError", "code": status}}
    async with FakeOpenAI() as fake, remote(fake) as engine:
        for error in await fails(engine, reply(body, status, retry_after="7"), fake):
            assert type(error) is kind
            assert SECRET not in error.message
            assert SECRET in error.log_content
            assert SECRET not in error.log_detail
            assert error.retry_after == 7


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, EngineFaultError), (500, EngineFaultError), (502, EngineFaultError), (503, OverloadedError)],
)
async def test_i124_a_refusal_that_is_not_json(status: int, kind: type[DragomanError]) -> None:
    answer = Answer(status=status, content_type="text/html", pieces=[HTML])
    async with FakeOpenAI() as fake, remote(fake) as engine:
        for error in await fails(engine, answer, fake):
            assert type(error) is kind
            assert SECRET not in error.message
            assert SECRET in error.log_content
            assert SECRET not in error.log_detail


@pytest.mark.parametrize(
    "body", [HTML, b"{", b"[]", b'{"choices": []}', b"null", b'{"choices": 5}', b"\xff\xfe"]
)
async def test_a_success_that_is_no_answer(body: bytes) -> None:
    async with FakeOpenAI() as fake, remote(fake) as engine:
        for content_type in ("text/html", "application/json"):
            errors = await fails(engine, Answer(content_type=content_type, pieces=[body]), fake)
            assert {type(error) for error in errors} == {EngineFaultError}
            assert SECRET not in "".join(error.message for error in errors)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"error": {"message": SECRET, "code": 429}}, RateLimitError),
        ({"error": {"message": SECRET, "code": "503"}}, OverloadedError),
        ({"error": {"message": SECRET, "type": "invalid_request_error"}}, InvalidRequestError),
        (
            {"error": {"message": SECRET, "type": "BadRequestError", "param": None, "code": 400}},
            InvalidRequestError,
        ),
        ({"error": {"message": SECRET, "type": "unavailable_error", "code": 503}}, OverloadedError),
        ({"error": {"message": SECRET, "type": "overloaded_error"}}, OverloadedError),
        ({"error": {"message": SECRET, "type": "server_error"}}, EngineFaultError),
        ({"error": {"message": [SECRET], "type": None}}, EngineFaultError),
        ({"error": SECRET}, EngineFaultError),
        ({"object": "error", "message": SECRET, "type": "BadRequestError", "code": 400}, InvalidRequestError),
        (
            {"error": {"message": SECRET}, "choices": [{"delta": {}, "finish_reason": "error"}]},
            EngineFaultError,
        ),
    ],
)
async def test_i123_an_error_inside_an_answer(body: dict[str, Any], kind: type[DragomanError]) -> None:
    async with FakeOpenAI() as fake, remote(fake) as engine:
        (first,) = await fails(engine, events(body, DONE), fake, whole_too=False)
        fake.chat(events(chunk({"content": "a"}), body, DONE))
        stream = await engine.stream_chat_completion(ask())
        assert text_of(await anext(stream)) == "a"
        with pytest.raises(DragomanError) as raised:
            await read(stream)
        for error in (first, raised.value, *await fails(engine, reply(body), fake)):
            assert type(error) is kind
            assert SECRET not in error.message
            assert SECRET in error.log_content
            assert SECRET not in error.log_detail
        assert await read(stream) == []


async def test_what_came_before_an_error_in_the_same_read_is_delivered() -> None:
    broken = event(chunk({"content": "a"})) + event({"error": {"message": "x"}})
    async with FakeOpenAI() as fake, remote(fake) as engine:
        fake.chat(Answer(content_type="text/event-stream", pieces=[broken]))
        stream = await engine.stream_chat_completion(ask())
        assert text_of(await anext(stream)) == "a"
        with pytest.raises(EngineFaultError):
            await anext(stream)


@pytest.mark.parametrize("garbage", ["{", '{"choices": []}, {"choices": []}'])
async def test_garbage_after_good_chunks_of_the_same_read_is_a_fault(garbage: str) -> None:
    read_at_once = b"".join(map(event, [chunk({"content": "a"}), usage(3, 1), garbage, DONE]))
    async with FakeOpenAI() as fake, remote(fake) as engine:
        fake.chat(Answer(content_type="text/event-stream", pieces=[read_at_once]))
        stream = await engine.stream_chat_completion(ask())
        assert text_of(await anext(stream)) == "a"
        with pytest.raises(EngineFaultError):
            await anext(stream)


@pytest.mark.parametrize("garbage", ["{", "hello", '{"choices": 5}', '{"choices": [{"delta": 5}]}'])
async def test_garbage_in_a_stream_is_a_fault(garbage: str) -> None:
    async with FakeOpenAI() as fake, remote(fake) as engine:
        fake.chat(events(chunk({"content": "a"}), garbage, Hang()))
        stream = await engine.stream_chat_completion(ask())
        with pytest.raises(EngineFaultError):
            await read(stream)
        await until(lambda: fake.chats[0].hung_up)


@pytest.mark.parametrize("dialect", ["vllm", "sglang", "llamacpp", "ollama", "generic"])
async def test_i126_a_stream_that_ends_without_its_finish_is_a_fault(dialect: Any) -> None:
    async with FakeOpenAI(DESCRIBED) as fake, remote(fake, dialect) as engine:
        for pieces in ([], [Cut()]):
            fake.chat(events(chunk({"content": "a"}), *pieces, closes=True))
            stream = await engine.stream_chat_completion(ask())
            assert text_of(await anext(stream)) == "a"
            with pytest.raises(EngineFaultError):
                await anext(stream)


DESCRIBED: dict[str, Any] = {"/props": reply({"default_generation_settings": {"n_ctx": 64}})}


@pytest.mark.parametrize("dialect", ["vllm", "sglang", "llamacpp", "ollama"])
async def test_a_server_that_says_done_must_say_it(dialect: Any) -> None:
    async with FakeOpenAI(DESCRIBED) as fake, remote(fake, dialect) as engine:
        fake.chat(events(chunk({"content": "a"}), chunk({}, "stop"), usage(1, 1), closes=True))
        stream = await engine.stream_chat_completion(ask())
        with pytest.raises(EngineFaultError):
            await read(stream)


async def test_an_unknown_server_may_end_with_its_finish() -> None:
    async with FakeOpenAI() as fake, remote(fake) as engine:
        fake.chat(events(chunk({"content": "a"}), chunk({}, "stop"), closes=True))
        assert text_of(await read(await engine.stream_chat_completion(ask()))) == "a"


async def test_a_last_event_without_its_blank_line_counts() -> None:
    async with FakeOpenAI() as fake, remote(fake, "vllm") as engine:
        pieces = [event(chunk({"content": "a"}, "stop")), b"data: [DONE]"]
        fake.chat(Answer(content_type="text/event-stream", pieces=pieces))
        assert text_of(await read(await engine.stream_chat_completion(ask()))) == "a"


async def test_an_event_without_end_is_a_fault() -> None:
    async with FakeOpenAI() as fake, remote(fake) as engine:
        fake.chat(Answer(content_type="text/event-stream", pieces=[b"data: " + b"x" * 1_000_000] * 20))
        with pytest.raises(EngineFaultError):
            await engine.stream_chat_completion(ask())


@pytest.mark.parametrize("answer", [Answer(silent=True, pieces=[Cut()]), events(Cut()), reply(whole(), 200)])
async def test_a_server_that_dies_before_its_answer_is_a_fault(answer: Answer) -> None:
    cut = Answer(status=answer.status, content_type=answer.content_type, pieces=[Cut()], silent=answer.silent)
    async with FakeOpenAI() as fake, remote(fake) as engine:
        for _ in range(2):
            # the pooled connection may be taken for one that died unused
            fake.chat(cut, cut)
            with pytest.raises(EngineFaultError):
                await engine.chat_completion(ask())
            fake._queue.clear()


async def test_what_is_no_http_is_a_fault() -> None:
    async with FakeOpenAI() as fake, remote(fake) as engine:
        fake.chat(Answer(silent=True, pieces=[Raw(b"SMTP 220 hello\r\n\r\n"), Hang()]))
        with pytest.raises(EngineFaultError):
            await engine.chat_completion(ask())


@pytest.mark.parametrize("piece", [Hang(), Cut()])
async def test_a_question_without_an_answer(piece: Hang | Cut) -> None:
    fake = FakeOpenAI({"/v1/models": Answer(pieces=[b'{"data"', piece])})
    probe = 0.1 if isinstance(piece, Hang) else 10.0
    async with fake, remote(fake, "generic", Timeouts(probe=probe)) as engine:
        with pytest.raises(EngineTimeoutError if isinstance(piece, Hang) else EngineFaultError):
            await engine.models()


async def test_a_connection_that_does_not_come_about_is_no_engine() -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = full.getsockname()
        # nobody accepts: the second connection stays in the queue, the third is not answered at all
        waiting = [socket.create_connection(address, 1) for _ in range(1)]
        timeouts = Timeouts(connect=0.1)
        engine = RemoteInferenceEngine(
            EngineEntry(url=f"http://127.0.0.1:{address[1]}", dialect="generic"), timeouts
        )
        with pytest.raises(EngineUnreachableError):
            await engine.models()
        await engine.aclose()
        for connection in waiting:
            connection.close()


@pytest.mark.parametrize(
    ("cause", "why"),
    [
        (OSError(errno.ECONNREFUSED, "Connect call failed ('10.0.0.1', 80)"), "Connection refused"),
        (socket.gaierror(-2, "Name or service not known"), "Name or service not known"),
        (OSError("several causes"), "several causes"),
    ],
)
def test_why_there_is_no_connection_is_said_in_words(cause: OSError, why: str) -> None:
    place: Any = SimpleNamespace(host="engine", port=80, is_ssl=False, ssl=True)
    error = error_of_client(aiohttp.ClientConnectorError(place, cause))
    assert type(error) is EngineUnreachableError
    assert error.log_detail == f"no connection to engine port 80: {why}"


@pytest.mark.parametrize("answer", [Answer(silent=True, pieces=[Hang()]), events(Hang())])
async def test_silence_before_the_first_byte_ends(answer: Answer) -> None:
    timeouts = Timeouts(first_byte=0.1)
    async with FakeOpenAI() as fake, remote(fake, "generic", timeouts) as engine:
        fake.chat(answer)
        with pytest.raises(EngineTimeoutError):
            await engine.stream_chat_completion(ask())
        await until(lambda: fake.chats[0].hung_up)


async def test_silence_inside_an_answer_ends() -> None:
    timeouts = Timeouts(between_bytes=0.1)
    async with FakeOpenAI() as fake, remote(fake, "generic", timeouts) as engine:
        fake.chat(events(chunk({"content": "a"}), Hang()), Answer(pieces=[b'{"ch', Hang()]))
        stream = await engine.stream_chat_completion(ask())
        assert text_of(await anext(stream)) == "a"
        with pytest.raises(EngineTimeoutError):
            await anext(stream)
        with pytest.raises(EngineTimeoutError):
            await engine.chat_completion(ask())
        await until(lambda: all(seen.hung_up for seen in fake.chats))


async def test_a_reader_that_takes_its_time_is_no_silence() -> None:
    timeouts = Timeouts(between_bytes=0.3)
    async with FakeOpenAI() as fake, remote(fake, "generic", timeouts) as engine:
        fake.chat(hello())
        stream = await engine.stream_chat_completion(ask())
        await asyncio.sleep(0.8)
        assert text_of(await read(stream)) == "Hi"


async def test_a_whole_answer_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dragoman.engines.transport.MOST_ANSWER_BYTES", 1000)
    async with FakeOpenAI() as fake, remote(fake) as engine:
        fake.chat(reply(whole("x" * 2000)))
        with pytest.raises(EngineFaultError):
            await engine.chat_completion(ask())
        fake.routes["/v1/models"] = reply({"data": [{"id": "x" * 2000}]})
        with pytest.raises(EngineFaultError):
            await engine.models()
