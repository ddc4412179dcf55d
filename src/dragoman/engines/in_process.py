"""Requests to an engine's own web application in this process: HTTP as values, without a socket."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

import aiohttp
from multidict import CIMultiDict

from dragoman.engines.base import EngineUnreachableError
from dragoman.engines.transport import Response, Transport
from dragoman.errors import EngineLostError
from dragoman.settings import Limits, Timeouts

Message = MutableMapping[str, Any]
App = Callable[
    [MutableMapping[str, Any], Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]],
    Awaitable[None],
]
"""An ASGI application."""

# Where a remote engine has its address; nothing is ever connected to it.
NOWHERE = "http://in-process"
# What may wait for a slow reader before the application waits, too.
MOST_WAITING_BYTES = 256 * 1024
# Seconds for calls that were hung up to end, before they are cancelled.
_ENDING_SECONDS = 5.0


class AppTransport(Transport):
    """Asks an application of this process. `app` is None as long as there is none."""

    def __init__(self, key: str, timeouts: Timeouts, limits: Limits) -> None:
        super().__init__(NOWHERE, key, timeouts, limits)
        self.app: App | None = None
        self._calls: set[AppResponse] = set()

    async def _request(self, method: str, path: str, data: bytes | None) -> Response:
        if self.app is None:
            raise EngineUnreachableError("the engine cannot be reached", log_detail="it is not loaded")
        response = AppResponse(self.app, _scope(method, path, data, self._headers), data or b"")
        self._calls.add(response)
        response.task.add_done_callback(lambda _: self._calls.discard(response))
        await response.begin()
        return response

    async def aclose(self) -> None:
        """Hangs up on all calls and waits until they have ended."""
        for response in self._calls:
            response.close()
        tasks = [response.task for response in self._calls]
        if tasks:
            _done, left = await asyncio.wait(tasks, timeout=_ENDING_SECONDS)
            for task in left:
                task.cancel()
        await super().aclose()


class AppResponse:
    """One call of an application, in a task of its own, and the answer as it comes.

    Hanging up is told to the application as a client that went away, on which it ends its work by itself.
    """

    def __init__(self, app: App, scope: dict[str, Any], body: bytes) -> None:
        self.status = 0
        self.headers: Mapping[str, str] = {}
        self._request: bytes | None = body
        self._pieces: deque[bytes] = deque()
        self._waiting = 0
        self._is_whole = False
        self._is_closed = False
        self._hung_up = asyncio.Event()
        self._arrived = asyncio.Event()
        self._taken = asyncio.Event()
        self.task = asyncio.create_task(self._run(app, scope))

    @property
    def content_type(self) -> str:
        """Without its parameters."""
        return self.headers.get("Content-Type", "").partition(";")[0].strip().lower()

    @property
    def content(self) -> AppResponse:
        """The body: this object reads it, too."""
        return self

    async def begin(self) -> None:
        """Waits for status and headers."""
        try:
            while not (self.status or self.task.done()):
                await self._wait(self._arrived)
        except asyncio.CancelledError:
            self.close()
            raise
        if not self.status:
            raise EngineLostError("the engine ended the call without an answer", log_detail=self._why())

    def at_eof(self) -> bool:
        """Whether all was read."""
        return self._is_whole and not self._pieces

    async def readany(self) -> bytes:
        """What has arrived; an `aiohttp.ClientPayloadError`, as of a connection, where it ended too early."""
        while not self._pieces:
            if self._is_whole:
                return b""
            if self._is_closed or self.task.done():
                raise aiohttp.ClientPayloadError(self._why())
            await self._wait(self._arrived)
        data = b"".join(self._pieces)
        self._pieces.clear()
        self._waiting = 0
        self._taken.set()
        return data

    def close(self) -> None:
        """Hangs up."""
        self._is_closed = True
        self._hung_up.set()
        self._taken.set()
        self._arrived.set()

    async def _run(self, app: App, scope: dict[str, Any]) -> None:
        try:
            await app(scope, self._receive, self._send)
        finally:
            self._arrived.set()

    def _why(self) -> str:
        if self._is_closed:
            return "hung up"
        error = None if self.task.cancelled() else self.task.exception()
        return "the call ended" if error is None else type(error).__name__

    async def _receive(self) -> Message:
        if self._request is not None:
            body, self._request = self._request, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self._hung_up.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        if self._is_closed:
            raise ConnectionResetError("nobody waits for the answer")
        if message["type"] == "http.response.start":
            self.headers = CIMultiDict(
                (name.decode("latin-1"), value.decode("latin-1")) for name, value in message["headers"]
            )
            self.status = message["status"]
        elif message["type"] == "http.response.body":
            self._take(message)
        self._arrived.set()
        while self._waiting > MOST_WAITING_BYTES and not self._is_closed:
            await self._wait(self._taken)

    def _take(self, message: Message) -> None:
        if piece := message.get("body"):
            self._pieces.append(bytes(piece))
            self._waiting += len(piece)
        self._is_whole = not message.get("more_body", False)

    @staticmethod
    async def _wait(event: asyncio.Event) -> None:
        event.clear()
        await event.wait()


def _scope(method: str, path: str, data: bytes | None, headers: Mapping[str, str]) -> dict[str, Any]:
    where, _, query = path.partition("?")
    said = {"Host": "in-process", **headers, "Content-Length": str(len(data or b""))}
    return {
        "type": "http",
        # by this version an application listens for a client that goes away while it answers
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": where,
        "raw_path": where.encode(),
        "root_path": "",
        "query_string": query.encode(),
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in said.items()],
        "client": ("127.0.0.1", 0),
        "server": ("in-process", 80),
        "state": {},
    }
