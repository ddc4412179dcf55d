"""The doors of a remote engine beside chat: token ids, and its own API passed on."""

from __future__ import annotations

import asyncio
from collections import deque

import msgspec

from dragoman.engines.base import RelayedAnswer, TokenStream
from dragoman.engines.dialects.doors import TokenDoor
from dragoman.engines.dialects.errors import error_in_body
from dragoman.engines.transport import Response, Transport, Watch, read_whole, refusal
from dragoman.errors import DragomanError, EngineFaultError, EngineLostError, EngineTimeoutError
from dragoman.settings import Timeouts
from dragoman.wire.sse import SSEDecoder
from dragoman.wire.tokens import RelayRequest, TokenChunk, TokenRequest

_DONE = b"[DONE]"
# How all three kinds of servers begin an event that tells an error.
_ERROR = b'{"error"'
# Statuses of an engine's answer that are the client's matter in its own API, as the engine words them.
_CLIENTS = frozenset({400, 413, 422})


class RemoteDoors:
    """Asks a server through these doors."""

    def __init__(self, name: str, transport: Transport, timeouts: Timeouts) -> None:
        self._name = name
        self._transport = transport
        self._timeouts = timeouts

    async def stream_tokens(self, request: TokenRequest, door: TokenDoor) -> TokenStream:
        """The answer to token ids; its first event has come, so that an error in it is raised here."""
        response = await self._answer(door.path, msgspec.json.encode(door.write(request)))
        if response.status != 200:
            raise refusal(response, await read_whole(response, self._timeouts.between_bytes))
        stream = RemoteTokenStream(self._name, response, door, self._timeouts)
        await stream.prime()
        return stream

    async def relay(self, request: RelayRequest) -> RelayedAnswer:
        """The server's own answer."""
        response = await self._answer(request.path, request.body)
        if response.status != 200 and response.status not in _CLIENTS:
            raise refusal(response, await read_whole(response, self._timeouts.between_bytes))
        return RemoteRelay(self._name, response, self._timeouts)

    async def _answer(self, path: str, data: bytes) -> Response:
        try:
            async with asyncio.timeout(self._timeouts.first_byte):
                return await self._transport.post(path, data)
        except TimeoutError as error:
            detail = f"no answer within {self._timeouts.first_byte} s"
            raise EngineTimeoutError("the engine did not answer in time", log_detail=detail) from error


class RemoteTokenStream(TokenStream):
    """Reads on demand only; closing it hangs up."""

    def __init__(self, engine: str, response: Response, door: TokenDoor, timeouts: Timeouts) -> None:
        self.engine = engine
        self._response = response
        self._door = door
        self._reader = door.reader()
        self._events = SSEDecoder()
        self._watch = Watch(response, timeouts.first_byte)
        self._between = timeouts.between_bytes
        self._due: deque[TokenChunk] = deque()
        self._fault: DragomanError | None = None
        self._is_finished = False
        self._is_done = False

    async def prime(self) -> None:
        """Reads the first event, so that an error in it is raised here."""
        await self._fill()
        self._watch.relax(self._between)

    async def __anext__(self) -> TokenChunk:
        """What the next event adds."""
        await self._fill()
        if not self._due:
            await self.aclose()
            raise StopAsyncIteration
        return self._due.popleft()

    async def _fill(self) -> None:
        """Reads until something is due; a fault is raised when all that came before it is out."""
        while not (self._due or self._is_done or self._fault):
            await self._read()
        if not self._due and self._fault is not None:
            fault, self._fault = self._fault, None
            await self.aclose()
            raise fault

    async def aclose(self) -> None:
        """Hangs up."""
        self._is_done = True
        self._watch.stop()
        self._response.close()

    async def _read(self) -> None:
        try:
            data = await self._watch.read()
            if not data:
                self._end()
            self._take_all(self._events.feed_data(data))
        except BaseException:  # cancelled, too: the engine must not work on for nobody
            await self.aclose()
            raise

    def _take_all(self, events: list[bytes]) -> None:
        for event in events:
            try:
                self._take(event)
            except DragomanError as error:
                self._fault = error
                return

    def _take(self, event: bytes) -> None:
        if self._is_done:
            return
        if event == _DONE:
            self._is_done = True
            return
        if event.startswith(_ERROR):
            raise error_in_body(event) or unreadable()
        try:
            chunk = self._reader.read(event)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise unreadable() from error
        self._is_finished = self._is_finished or chunk.finish_reason is not None
        self._due.append(chunk)

    def _end(self) -> None:
        self._is_done = True
        if not self._is_finished or self._door.ends_with_done:
            raise EngineLostError("the engine's answer ended early", log_detail="the token stream ended")


class RemoteRelay(RelayedAnswer):
    """The bytes of a server's answer as they come."""

    def __init__(self, engine: str, response: Response, timeouts: Timeouts) -> None:
        self.engine = engine
        self.status = response.status
        self.content_type = response.headers.get("Content-Type", "application/json")
        self._response = response
        self._watch = Watch(response, timeouts.between_bytes)

    async def __anext__(self) -> bytes:
        """What has arrived."""
        try:
            data = await self._watch.read()
        except (DragomanError, asyncio.CancelledError):
            await self.aclose()
            raise
        if not data:
            self._watch.stop()
            raise StopAsyncIteration
        return data

    async def aclose(self) -> None:
        """Hangs up, unless the answer is complete."""
        self._watch.stop()
        self._response.close()


def unreadable() -> DragomanError:
    """The fault of an event that is none of the door's."""
    return EngineFaultError("the engine's answer could not be read", log_detail="unreadable token chunk")
