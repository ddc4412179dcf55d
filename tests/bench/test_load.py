"""The load generator and the canned engine: the whole is counted, the broken is named, a pace is kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from bench import bodies, canned
from bench.engine import CannedEngine, Mode
from bench.load import TOKEN, Load, Tally, ended, http_request, percentile, run

REQUEST = http_request("/v1/chat/completions", bodies.body("1KB", "chat"))
HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
TOKENS = b'data: {"choices":[{"delta":{"content":"x"}}]}\n\n'


@asynccontextmanager
async def serving(protocol: Callable[[], asyncio.Protocol]) -> AsyncIterator[int]:
    """A server on a free port."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(protocol, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


class Answers(asyncio.Protocol):
    """A server that answers whatever comes with the same bytes, and may close after them."""

    def __init__(self, answer: bytes, *, close: bool = False) -> None:
        self._answer = answer
        self._close = close

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._transport.write(self._answer)
        if self._close:
            self._transport.close()


async def loaded(answer: str, streams: int, pace_ms: float = 0.0, seconds: float = 0.0) -> tuple[Load, Mode]:
    """What a load on the canned engine sees."""
    mode = Mode()
    mode.set(answer, pace_ms)
    async with serving(lambda: CannedEngine(mode)) as port:
        return await run(port, REQUEST, streams, seconds, pace_ms), mode


async def test_every_stream_is_sent_at_least_once() -> None:
    load, _ = await loaded("mixed", 7)
    assert (load.streams, load.broken, load.why) == (7, 0, "")
    assert load.bytes == 7 * len(Mode().whole)


async def test_a_load_goes_on_while_there_is_time() -> None:
    load, _ = await loaded("short", 2, seconds=0.2)
    assert load.streams > 2
    assert load.broken == 0


async def test_tokens_are_the_same_at_full_speed_and_paced() -> None:
    mode = Mode()
    mode.set("brief", 0)
    assert len(TOKEN.findall(mode.whole)) == canned.ANSWERS["brief"].tokens
    assert len(TOKEN.findall(mode.packets[0])) == 1
    assert [len(TOKEN.findall(packet)) for packet in mode.packets[1:-1]] == [1] * (len(mode.packets) - 2)


async def test_paced_tokens_come_one_by_one() -> None:
    load, mode = await loaded("short", 3, pace_ms=10.0)
    assert (load.streams, load.broken) == (3, 0)
    # a stream of 32 tokens has 31 gaps and one more to its end, however busy the machine is
    assert load.wall_s >= 0.31
    assert load.between_p50_ms is not None
    assert load.between_p99_ms is not None
    assert 5 < load.between_p50_ms <= load.between_p99_ms
    assert (mode.stats.live, mode.stats.most) == (0, 3)


async def test_at_full_speed_nothing_is_said_about_gaps() -> None:
    load, _ = await loaded("short", 1)
    assert (load.between_p50_ms, load.between_p99_ms) == (None, None)
    assert load.first_token_ms is not None


@pytest.mark.parametrize(
    ("answer", "close", "why"),
    [
        (b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n", False, "answered HTTP/1.1 503 Busy"),
        (
            b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
            False,
            "an answer that is no chunked stream",
        ),
        (HEAD + TOKENS, True, "the connection was closed inside an answer"),
        (HEAD + TOKENS + b"0\r\n\r\n", False, "an answer ended without its last event"),
        (HEAD + b"data: [DONE]\r\n0\r\n\r\n", False, "an answer held no token"),
    ],
)
async def test_broken_streams_are_counted_with_a_reason(answer: bytes, close: bool, why: str) -> None:
    async with serving(lambda: Answers(answer, close=close)) as port:
        load = await run(port, REQUEST, 2, 0.0)
    assert (load.streams, load.broken, load.why) == (0, 2, why)


async def test_streams_from_which_nothing_comes_are_given_up() -> None:
    tally = Tally(2, 0.0)
    waiting: list[asyncio.Future[None]] = [asyncio.get_running_loop().create_future() for _ in range(2)]
    await ended(waiting, tally, stall=0.01)
    assert (tally.broken, tally.why) == (2, "nothing came for 0.01 s")


async def test_a_reader_that_leaves_ends_its_paced_answer() -> None:
    mode = Mode()
    mode.set("short", 50.0)
    async with serving(lambda: CannedEngine(mode)) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(REQUEST)
        await reader.readuntil(b"\r\n\r\n")
        assert mode.stats.live == 1
        writer.close()
        await writer.wait_closed()
        # another answer of the same engine ends after the one that was left would have had its next token
        assert (await run(port, REQUEST, 1, 0.0, 50.0)).streams == 1
    assert (mode.stats.live, mode.stats.most) == (0, 1)


async def test_a_large_request_is_answered_when_it_is_whole() -> None:
    mode = Mode()
    request = http_request("/v1/chat/completions", bodies.body("1MB", "chat"))
    async with serving(lambda: CannedEngine(mode)) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request[:-1])
        await writer.drain()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await reader.read(1)
        writer.write(request[-1:])
        assert await reader.readexactly(len(mode.whole)) == mode.whole
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize(("percent", "value"), [(1, 1.0), (50, 50.0), (99, 99.0), (100, 100.0)], ids=str)
def test_percentiles_are_the_nearest_rank(percent: int, value: float) -> None:
    assert percentile([float(number) for number in range(100, 0, -1)], percent) == value


def test_a_percentile_of_one_value_is_that_value() -> None:
    assert percentile([7.0], 99) == 7.0
