"""The remote engine in order: connections, keys, backpressure, hanging up."""

from __future__ import annotations

import asyncio

import pytest

from dragoman.engines.base import EngineUnreachableError
from dragoman.engines.remote import RemoteInferenceEngine
from dragoman.engines.transport import engine_root, retry_after
from dragoman.errors import (
    EngineFaultError,
    OverloadedError,
    SettingsError,
)
from dragoman.settings import EngineEntry, Limits, Timeouts
from dragoman.wire.openai import ChatUsage, PromptTokensDetails
from tests.support.fake_openai import (
    DONE,
    Answer,
    Cut,
    FakeOpenAI,
    Hang,
    Pause,
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


async def test_a_stream_in_order() -> None:
    async with FakeOpenAI() as fake, remote(fake) as engine:
        fake.chat(
            events(
                chunk({"role": "assistant"}),
                chunk({"content": "Hi"}),
                chunk({}, "stop"),
                usage(3, 1, 2),
                DONE,
            )
        )
        stream = await engine.stream_chat_completion(ask())
        chunks = await read(stream)
        await stream.aclose()
        assert text_of(chunks) == "Hi"
        assert chunks[-1].usage == ChatUsage(3, 1, PromptTokensDetails(2))
        assert stream.engine == f"127.0.0.1:{fake.port}"
        sent = fake.chats[0].json
        assert (sent["stream"], sent["stream_options"]) == (True, {"include_usage": True})


async def test_a_whole_answer() -> None:
    async with FakeOpenAI() as fake, remote(fake, name="e") as engine:
        fake.chat(reply(whole("Hi", reasoning_content="Hm")))
        completion = await engine.chat_completion(ask())
        message = completion.choices[0].message
        assert (message.content, message.reasoning, message.reasoning_content) == ("Hi", "Hm", None)
        assert completion.engine == "e"
        assert fake.chats[0].json["stream"] is False


async def test_one_read_is_one_batch() -> None:
    async with FakeOpenAI() as fake, remote(fake) as engine:
        both = event(chunk({"content": "a"})) + event(chunk({"content": "b"}))
        fake.chat(
            Answer(content_type="text/event-stream", pieces=[both, event(chunk({}, "stop")) + event(DONE)])
        )
        stream = await engine.stream_chat_completion(ask())
        assert text_of(await anext(stream)) == "ab"
        await read(stream)


async def test_any_split_of_the_bytes_gives_the_same_text() -> None:
    text = "né 👩‍👩‍👧 こんにちは"
    data = event(chunk({"content": text})) + event(chunk({}, "stop")) + event(DONE)
    async with FakeOpenAI() as fake, remote(fake) as engine:
        pieces = [bytes([byte]) for byte in data]
        fake.chat(Answer(content_type="text/event-stream", pieces=pieces))
        assert text_of(await read(await engine.stream_chat_completion(ask()))) == text


async def test_connections_are_kept_and_used_again() -> None:
    async with FakeOpenAI() as fake, remote(fake) as engine:
        for _ in range(3):
            fake.chat(hello())
            await read(await engine.stream_chat_completion(ask()))
        fake.chat(reply(whole()))
        await engine.chat_completion(ask())
        assert fake.connections == 1


async def test_a_connection_that_died_unused_is_replaced() -> None:
    async with FakeOpenAI() as fake, remote(fake) as engine:
        fake.chat(hello(), Answer(silent=True, pieces=[Cut()]), hello())
        await read(await engine.stream_chat_completion(ask()))
        assert text_of(await read(await engine.stream_chat_completion(ask()))) == "Hi"
        assert [seen.connection for seen in fake.chats] == [1, 1, 2]


async def test_the_end_of_a_dead_connection_may_be_seen_late() -> None:
    """By a process that has fifty other answers to read."""
    async with FakeOpenAI() as fake, remote(fake) as engine:
        fake.chat(hello(), Answer(silent=True, pieces=[Pause(0.3), Cut()]), hello())
        await read(await engine.stream_chat_completion(ask()))
        assert text_of(await read(await engine.stream_chat_completion(ask()))) == "Hi"
        assert [seen.connection for seen in fake.chats] == [1, 1, 2]


async def _warm(fake: FakeOpenAI, engine: RemoteInferenceEngine, connections: int) -> None:
    """Leaves some idle connections in the pool."""
    fake.chat(*[events(Pause(0.1), chunk({"content": "a"}), chunk({}, "stop"), DONE)] * connections)
    streams = await asyncio.gather(*(engine.stream_chat_completion(ask()) for _ in range(connections)))
    for stream in streams:
        await read(stream)
    fake.seen.clear()


async def test_a_request_that_the_server_worked_on_is_not_sent_again() -> None:
    async with FakeOpenAI() as fake, remote(fake) as engine:
        await _warm(fake, engine, 6)
        fake.chat(*[Answer(silent=True, pieces=[Pause(0.8), Cut()])] * 9)
        with pytest.raises(EngineFaultError):
            await engine.stream_chat_completion(ask())
        assert len(fake.chats) == 1


async def test_of_many_dead_connections_only_one_is_tried() -> None:
    async with FakeOpenAI() as fake, remote(fake) as engine:
        await _warm(fake, engine, 6)
        fake.chat(Answer(silent=True, pieces=[Cut()]), hello())
        assert text_of(await read(await engine.stream_chat_completion(ask()))) == "Hi"
        assert fake.chats[0].connection <= 6 < fake.chats[1].connection
        assert "close" in fake.chats[1].headers["connection"]


@pytest.mark.parametrize(
    "begun", [b"HTTP/1.1 200 OK\r\nContent-Ty", b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"]
)
async def test_an_answer_that_began_is_not_asked_again(begun: bytes) -> None:
    async with FakeOpenAI() as fake, remote(fake) as engine:
        fake.chat(hello(), Answer(silent=True, pieces=[Raw(begun), Cut()]), hello())
        await read(await engine.stream_chat_completion(ask()))
        with pytest.raises(EngineFaultError):
            await engine.stream_chat_completion(ask())
        assert len(fake.chats) == 2


async def test_a_fresh_connection_that_dies_is_not_asked_again() -> None:
    async with FakeOpenAI() as fake, remote(fake, dialect="vllm") as engine:
        await engine.capabilities("m")
        await asyncio.sleep(0)
        fake.chat(*[Answer(silent=True, pieces=[Cut()])] * 9)
        before = fake.connections
        with pytest.raises(EngineFaultError):
            await engine.chat_completion(ask())
        # the pooled connection, and one new one
        assert (len(fake.chats), fake.connections) == (2, before + 1)


async def test_the_key_goes_as_bearer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENGINE_KEY", "from-env")
    async with FakeOpenAI() as fake:
        for key, key_env, wanted in (("k", "", "Bearer k"), ("", "ENGINE_KEY", "Bearer from-env")):
            async with remote(fake, key=key, key_env=key_env) as engine:
                fake.chat(reply(whole()))
                await engine.chat_completion(ask())
                assert fake.chats[-1].headers["authorization"] == wanted
        async with remote(fake) as engine:
            fake.chat(reply(whole()))
            await engine.chat_completion(ask())
            assert "authorization" not in fake.chats[-1].headers


async def test_a_large_body_travels() -> None:
    async with FakeOpenAI() as fake, remote(fake) as engine:
        fake.chat(reply(whole()))
        await engine.chat_completion(ask("x" * 3_000_000))
        assert len(fake.chats[0].body) > 3_000_000


async def test_closing_a_stream_hangs_up() -> None:
    async with FakeOpenAI() as fake, remote(fake) as engine:
        fake.chat(events(chunk({"content": "a"}), Hang()))
        stream = await engine.stream_chat_completion(ask())
        assert text_of(await anext(stream)) == "a"
        await stream.aclose()
        await until(lambda: fake.chats[0].hung_up)
        assert await read(stream) == []


async def test_closing_a_stream_frees_its_reader() -> None:
    async with FakeOpenAI() as fake, remote(fake) as engine:
        fake.chat(events(chunk({"content": "a"}), Hang()))
        stream = await engine.stream_chat_completion(ask())
        reader = asyncio.ensure_future(read(stream))
        await asyncio.sleep(0.05)
        await stream.aclose()
        assert text_of(await reader) == "a"


@pytest.mark.parametrize("answer", [Answer(silent=True, pieces=[Hang()]), events(Hang())])
async def test_cancelling_before_the_first_byte_hangs_up(answer: Answer) -> None:
    async with FakeOpenAI() as fake, remote(fake) as engine:
        for attempt in (engine.chat_completion, engine.stream_chat_completion):
            fake.chat(answer)
            task: asyncio.Future[object] = asyncio.ensure_future(attempt(ask()))
            await until(lambda: bool(fake.chats))
            await asyncio.sleep(0.02)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await until(lambda: fake.chats[-1].hung_up)


async def test_cancelling_a_reader_hangs_up() -> None:
    async with FakeOpenAI() as fake, remote(fake) as engine:
        fake.chat(events(chunk({"content": "a"}), Hang()))
        stream = await engine.stream_chat_completion(ask())
        reader = asyncio.ensure_future(read(stream))
        await asyncio.sleep(0.05)
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader
        await until(lambda: fake.chats[0].hung_up)


async def test_a_slow_reader_slows_the_engine_down() -> None:
    piece = event(chunk({"content": "x" * 65_000}))
    async with FakeOpenAI() as fake, remote(fake) as engine:
        fake.chat(Answer(content_type="text/event-stream", pieces=[piece] * 1000))
        stream = await engine.stream_chat_completion(ask())
        await anext(stream)
        await asyncio.sleep(0.2)
        stopped_at = fake.chats[0].written
        await asyncio.sleep(0.1)
        assert fake.chats[0].written == stopped_at
        assert stopped_at < 500
        await stream.aclose()


async def test_closing_twice_is_quiet() -> None:
    engine = RemoteInferenceEngine(EngineEntry(url="http://127.0.0.1:9", name="n"))
    await engine.aclose()
    await engine.aclose()
    assert engine.name == "n"


@pytest.mark.parametrize(
    ("url", "root"),
    [
        ("http://h:1", "http://h:1"),
        ("http://h:1/v1/", "http://h:1"),
        ("https://h/openai/v1", "https://h/openai"),
        ("http://h:1/v1/chat/completions", "http://h:1"),
    ],
)
def test_an_address_may_end_in_v1(url: str, root: str) -> None:
    assert engine_root(url) == root


@pytest.mark.parametrize(
    "url",
    [
        "h:1",
        "ftp://h",
        "http://",
        "http://[::1",
        "http://h:x",
        "http://h:99999",
        "http://a..b",
        "http://a b",
        "http://h/a b",
        "http://h\n",
        "http://h/v1?api-version=2",
        "http://h#top",
    ],
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(SettingsError):
        RemoteInferenceEngine(EngineEntry(url=url))


def test_a_key_is_kept_out_of_addresses_and_must_be_there() -> None:
    with pytest.raises(SettingsError, match="put the key of h into `key`") as raised:
        RemoteInferenceEngine(EngineEntry(url="http://user:secret@h:1"))
    assert "secret" not in raised.value.message
    with pytest.raises(SettingsError, match="is not an address") as raised:
        RemoteInferenceEngine(EngineEntry(url="http://user:secret@h:99999"))
    assert "secret" not in raised.value.message
    with pytest.raises(SettingsError, match="NOT_THERE"):
        RemoteInferenceEngine(EngineEntry(url="http://h", key_env="NOT_THERE"))


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://h/v1?key=secret", "'http://h/v1'"),
        ("http://u:secret@h:1#secret", "'http://h:1'"),
        ("http://u:sec/ret@h:99999", "'http://h:99999'"),
        ("http://u:sec?ret@h", "'http://...'"),
        ("http://h?key=sec@ret", "'http://...'"),
        ("u:secret@h", "'h'"),
    ],
)
def test_a_wrong_address_is_shown_without_what_may_be_a_key(url: str, shown: str) -> None:
    with pytest.raises(SettingsError) as raised:
        engine_root(url)
    assert raised.value.message == f"engines: {shown} is not an address like http://127.0.0.1:8000"


def test_retry_after_is_seconds_or_a_date() -> None:
    assert retry_after("1.5") == 1.5
    assert retry_after("-3") == 0
    assert retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    assert [retry_after(value) for value in (None, "", "soon", "inf")] == [None] * 4


async def test_a_stop_string_that_the_server_cannot_name_is_matched_here() -> None:
    async with FakeOpenAI() as fake, remote(fake) as engine:
        fake.chat(events(chunk({"content": "one tw"}), chunk({"content": "o three"}), Hang()))
        stream = await engine.stream_chat_completion(ask(stop=["two"]))
        chunks = await read(stream)
        assert text_of(chunks) == "one "
        assert chunks[-1].choices[0].matched_stop == "two"
        assert "stop" not in fake.chats[0].json
        await until(lambda: fake.chats[0].hung_up)
        fake.chat(events(chunk({"content": "one tw"}), chunk({"content": "o"}, "stop"), DONE))
        completion = await engine.chat_completion(ask(stop=["two"]))
        assert (completion.choices[0].message.content, completion.choices[0].matched_stop) == ("one ", "two")


async def test_a_stop_string_that_never_comes_changes_nothing() -> None:
    async with FakeOpenAI() as fake, remote(fake) as engine:
        fake.chat(events(chunk({"content": "one tw"}), DONE))
        assert text_of(await read(await engine.stream_chat_completion(ask(stop=["two"])))) == "one tw"


async def test_a_server_that_does_not_stream_is_read_whole() -> None:
    async with FakeOpenAI() as fake, remote(fake) as engine:
        fake.chat(reply(whole("one two three")), reply(whole("one two three")))
        assert text_of(await read(await engine.stream_chat_completion(ask()))) == "one two three"
        stream = await engine.stream_chat_completion(ask(stop=["two"]))
        chunks = await read(stream)
        await stream.aclose()
        assert (text_of(chunks), chunks[-1].choices[0].matched_stop) == ("one ", "two")


async def test_what_comes_after_done_does_not_delay_the_end() -> None:
    async with FakeOpenAI() as fake, remote(fake) as engine:
        fake.chat(events(chunk({"content": "Hi"}, "stop"), DONE, Hang()))
        assert text_of(await read(await engine.stream_chat_completion(ask()))) == "Hi"
        await until(lambda: fake.chats[0].hung_up)


async def test_a_full_pool_is_waited_for() -> None:
    one = Limits(engine_connections=1)
    async with FakeOpenAI() as fake, remote(fake, "generic", Timeouts(pool=0.5), one) as engine:
        await engine.capabilities("m")
        fake.chat(events(chunk({"content": "a"}), Hang()))
        stream = await engine.stream_chat_completion(ask())
        with pytest.raises(OverloadedError) as raised:
            await engine.stream_chat_completion(ask())
        assert not isinstance(raised.value, EngineUnreachableError)
        await stream.aclose()


async def test_what_follows_a_match_in_the_same_read_is_no_fault() -> None:
    async with FakeOpenAI() as fake, remote(fake) as engine:
        both = event(chunk({"content": "one two"})) + event({"error": {"message": "late", "code": 500}})
        fake.chat(Answer(content_type="text/event-stream", pieces=[both]))
        chunks = await read(await engine.stream_chat_completion(ask(stop=["two"])))
        assert (text_of(chunks), chunks[-1].choices[0].matched_stop) == ("one ", "two")


async def test_a_redirection_is_not_followed() -> None:
    async with FakeOpenAI() as fake, remote(fake) as engine:
        fake.chat(Answer(status=307, headers={"location": "/elsewhere"}))
        with pytest.raises(EngineFaultError):
            await engine.stream_chat_completion(ask())
        assert [seen.path for seen in fake.seen if seen.method == "POST"] == ["/v1/chat/completions"]
