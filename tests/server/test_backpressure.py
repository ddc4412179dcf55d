"""A client that reads slowly slows the engine down; one that reads nothing is cut off."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import httpx

from dragoman.engines.base import ChatStream, InferenceEngine
from dragoman.engines.scripted import (
    SCRIPTED_CAPABILITIES,
    ScriptedInferenceEngine,
    answer,
    finish_chunk,
    text_chunk,
)
from dragoman.server.run import bind
from dragoman.wire.openai import ChatChunk, ChatRequest
from tests.server.http import REQUEST, STREAMED, eventually, post_bytes, read_until
from tests.support.serving import Running, settings_of

PIECE = "x" * 10_000
PIECES = 100


class Gushing(ScriptedInferenceEngine):
    """An engine that has a megabyte ready at once, and counts how much of it was taken."""

    def __init__(self) -> None:
        super().__init__([answer("unused")], capabilities=SCRIPTED_CAPABILITIES)
        self.taken = 0
        self.closed = threading.Event()

    async def stream_chat_completion(self, request: ChatRequest) -> ChatStream:
        """All of it."""
        return GushingStream(self)


class GushingStream(ChatStream):
    """The answer of a gushing engine."""

    def __init__(self, source: Gushing) -> None:
        self.engine = "gushing"
        self._source = source

    async def __anext__(self) -> list[ChatChunk]:
        """The next piece."""
        if self._source.taken > PIECES:
            raise StopAsyncIteration
        self._source.taken += 1
        return [text_chunk(PIECE) if self._source.taken <= PIECES else finish_chunk()]

    async def aclose(self) -> None:
        """Nobody reads on."""
        self._source.closed.set()


@contextmanager
def narrow(
    engine: InferenceEngine, body: object = STREAMED, **settings: Any
) -> Iterator[tuple[Running, socket.socket]]:
    """A server and a client between which the kernel holds little; the client has asked its question."""
    made = settings_of(settings)
    listening = bind(made)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16_384)
    running = Running(engine, made, listening)
    running.start()
    try:
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
            sock.settimeout(20)
            sock.connect(listening.getsockname())
            sock.sendall(post_bytes(running.url, body))
            yield running, sock
    finally:
        running.stop()


def is_settled(engine: Gushing) -> bool:
    """Whether the engine has given something, and gives no more."""
    before = engine.taken
    time.sleep(0.3)
    return before > 0 and engine.taken == before


def test_the_engine_is_not_read_ahead_of_the_client() -> None:
    engine = Gushing()
    with narrow(engine) as (_, sock):
        assert eventually(lambda: is_settled(engine))
        # what the kernel and one transport hold, and no more
        assert engine.taken < PIECES / 2
        whole = read_until(sock, b"message_stop")
    assert engine.taken == PIECES + 1
    assert whole.count(PIECE.encode()) == PIECES


def test_a_client_that_reads_nothing_is_cut_off() -> None:
    engine = Gushing()
    with narrow(engine, timeouts={"stall": 0.5}) as (running, _):
        assert engine.closed.wait(10)
        assert eventually(lambda: len(running.app.traffic) == 0)
        lost = 'dragoman_clients_lost_total{how="stalled"} 1.0'
        assert eventually(lambda: lost in httpx.get(f"{running.url}/metrics").text)


def test_a_slow_reader_is_no_stalled_one() -> None:
    engine = Gushing()
    with narrow(engine, timeouts={"stall": 1.0}) as (_, sock):
        read = b""
        while b"message_stop" not in read:
            time.sleep(0.02)
            read += sock.recv(20_000)
    assert read.count(PIECE.encode()) == PIECES


def test_pings_do_not_pile_up_for_a_client_that_reads_nothing() -> None:
    engine = Gushing()
    with narrow(engine, ping_interval=0.05) as (_, sock):
        assert eventually(lambda: is_settled(engine))
        time.sleep(0.5)
        whole = read_until(sock, b"message_stop")
    assert whole.count(b"event: ping") <= 2


def test_a_whole_answer_that_nobody_reads_is_not_kept_for_ever() -> None:
    engine = ScriptedInferenceEngine([answer(PIECE * PIECES)])
    with narrow(engine, REQUEST, timeouts={"keep_alive": 1.0}) as (running, sock):
        assert eventually(lambda: engine.calls != [] and len(running.app.traffic) == 0)
        time.sleep(2.0)
        read = b""
        with suppress(ConnectionError):
            while part := sock.recv(65_536):
                read += part
    assert len(read) < PIECES * len(PIECE)
