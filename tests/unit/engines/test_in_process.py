"""Calls of an application in this process: what it is told, what is read of it, and how calls end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest

from dragoman.engines.base import EngineUnreachableError
from dragoman.engines.in_process import MOST_WAITING_BYTES, App, AppTransport
from dragoman.engines.transport import Response
from dragoman.errors import EngineLostError, EngineTimeoutError
from dragoman.settings import Limits, Timeouts

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
START = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"Text/Plain; a=b")]}


def transport(app: App | None, **seconds: float) -> AppTransport:
    made = AppTransport("key", Timeouts(**seconds), Limits())
    made.app = app
    return made


def body(data: bytes, *, more: bool = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, "more_body": more}


async def whole(response: Response) -> bytes:
    pieces = []
    while piece := await response.content.readany():
        pieces.append(piece)
    return b"".join(pieces)


async def echo(scope: Any, receive: Any, send: Any) -> None:
    asked = await receive()
    headers = dict(scope["headers"])
    said = [
        scope["method"],
        scope["path"],
        scope["query_string"].decode(),
        headers[b"authorization"].decode(),
    ]
    await send(START)
    await send(body(" ".join(said).encode() + b" ", more=True))
    await send(body(asked["body"]))


async def test_an_application_reads_the_request_and_is_read() -> None:
    asker = transport(echo)
    response = await asker.post("/a?b=c", b"{}")
    assert (response.status, response.content_type) == (200, "text/plain")
    assert await whole(response) == b"POST /a b=c Bearer key {}"
    assert response.content.at_eof()
    reply = await asker.ask("/a")
    assert (reply.status, reply.body) == (200, b"GET /a  Bearer key ")
    await asker.aclose()


async def test_without_an_application_nothing_is_reached() -> None:
    with pytest.raises(EngineUnreachableError):
        await transport(None).ask("/a")


class Endless:
    """An application that answers without end, and how much it sent until it was told to stop."""

    def __init__(self) -> None:
        self.sent = 0
        self.gone = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(START)
        task = asyncio.create_task(self.write(send))
        assert (await receive())["type"] == "http.disconnect"
        self.gone.set()
        task.cancel()

    async def write(self, send: Send) -> None:
        while True:
            await send(body(b"x" * 1024, more=True))
            self.sent += 1024
            await asyncio.sleep(0)


async def test_who_hangs_up_is_told_to_the_application() -> None:
    app = Endless()
    asker = transport(app)
    response = await asker.post("/", b"")
    assert await response.content.readany()
    response.close()
    await asyncio.wait_for(app.gone.wait(), 1)
    with pytest.raises(aiohttp.ClientPayloadError):
        await whole(response)
    await asker.aclose()


async def test_a_slow_reader_slows_the_application_down() -> None:
    app = Endless()
    asker = transport(app)
    await asker.post("/", b"")
    for _ in range(2000):
        await asyncio.sleep(0)
    assert app.sent <= MOST_WAITING_BYTES + 1024
    await asker.aclose()
    assert app.gone.is_set()


async def test_a_question_that_takes_too_long_is_hung_up() -> None:
    gone = asyncio.Event()

    async def silent(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await receive()
        gone.set()

    with pytest.raises(EngineTimeoutError):
        await transport(silent, probe=0.02).ask("/")
    await asyncio.wait_for(gone.wait(), 1)


async def test_an_application_that_fails_is_a_lost_engine() -> None:
    async def failing(scope: Any, receive: Any, send: Any) -> None:
        raise ValueError("no")

    async def half(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send(body(b"half", more=True))
        raise ValueError("no")

    with pytest.raises(EngineLostError) as raised:
        await transport(failing).ask("/")
    assert raised.value.log_detail == "ValueError"
    with pytest.raises(EngineLostError):
        await transport(half).ask("/")


async def test_what_does_not_end_when_it_is_told_to_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dragoman.engines.in_process._ENDING_SECONDS", 0.01)
    cancelled = asyncio.Event()

    async def deaf(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    asker = transport(deaf)
    await asker.post("/", b"")
    await asker.aclose()
    await asyncio.wait_for(cancelled.wait(), 1)


async def test_a_call_that_is_cancelled_hangs_up() -> None:
    gone = asyncio.Event()

    async def silent(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await receive()
        gone.set()

    call = asyncio.create_task(transport(silent).post("/", b""))
    await asyncio.sleep(0.01)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await asyncio.wait_for(gone.wait(), 1)
