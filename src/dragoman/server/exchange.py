"""One HTTP exchange: what came, what was answered, and who may end it early."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from types import TracebackType

from starlette.types import Message, Receive, Scope, Send

from dragoman.errors import (
    DragomanError,
    InvalidRequestError,
    RequestTimeoutError,
    RequestTooLargeError,
    UnsupportedMediaTypeError,
)
from dragoman.observe.logs import Fields
from dragoman.server.envelope import error_headers
from dragoman.wire.anthropic.errors import encode_error, encode_error_event

Headers = list[tuple[bytes, bytes]]

JSON = (b"content-type", b"application/json")
CLOSE = (b"connection", b"close")
# The key under which our protocol class offers to cut the connection at once.
ABORT = "dragoman.abort"
# What may stand around a header's value; other white space of Unicode may be half of a letter.
_BLANK = " \t"
# What a refused client may still send before its connection is cut, as a multiple of the body limit.
_LINGER = 4


class ClientGoneError(Exception):
    """The client went away; there is nobody to answer."""


class ClientStalledError(Exception):
    """The client read nothing of its stream for too long."""


class Exchange:
    """One request and its answer.

    `route` is the path's pattern, `scope_name` the name of the key that opened the door, `rollout` the
    session that it names, `extra` headers for all that is answered, `notes` fields for the log line. `status`
    is 0 until an answer began. `on_error` turns an error into the last bytes of a stream.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        self.scope = scope
        self.request_id = request_id
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.route = "other"
        self.scope_name = ""
        self.rollout = ""
        self.model = ""
        self.extra: Headers = []
        self.notes: Fields = {}
        self.status = 0
        self.finished = False
        self.on_error: Callable[[DragomanError], bytes] | None = None
        self._is_download = False
        self._receive = receive
        self._send = send
        self._headers: list[tuple[bytes, bytes]] = scope["headers"]
        self._task: asyncio.Task[object] | None = None
        self._cancelling = 0
        self._reason: Exception | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()
        self._writing_since: float | None = None
        self._stall_timer: asyncio.TimerHandle | None = None

    # ---- what came ---------------------------------------------------------------------------------------

    def header_values(self, name: bytes) -> list[str]:
        """All values of a header, given in lower case."""
        return [value.decode("latin-1").strip(_BLANK) for key, value in self._headers if key == name]

    def header(self, name: bytes) -> str:
        """A header's value; "" where it is missing, the first where there are several."""
        return next(iter(self.header_values(name)), "")

    def headers(self) -> dict[str, str]:
        """All headers by name in lower case; the first value of each."""
        return {
            key.decode("latin-1"): value.decode("latin-1").strip(_BLANK)
            for key, value in reversed(self._headers)
        }

    async def body(self, *, limit: int, seconds: float) -> bytes:
        """The whole body, at most `limit` bytes, within `seconds`."""
        parts = [part async for part in self.pieces(limit=limit, seconds=seconds)]
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def pieces(self, *, limit: int, seconds: float) -> AsyncIterator[bytes]:
        """The body as it comes, at most `limit` bytes, within `seconds`."""
        encoding = self.header(b"content-encoding").lower()
        if encoding not in ("", "identity"):
            raise UnsupportedMediaTypeError(
                f"content-encoding: {encoding[:40]!r} is not supported, send the body as it is",
                error_code="request_body_encoding_unsupported",
            )
        declared = self.header(b"content-length")
        if declared.isdigit() and int(declared) > limit:
            raise _too_large(limit)
        until = self._loop.time() + seconds
        size, more = 0, True
        while more:
            try:
                async with asyncio.timeout_at(until):
                    message = await self._receive()
            except TimeoutError:
                raise RequestTimeoutError(f"the request's body did not arrive within {seconds:g} s") from None
            if message["type"] == "http.disconnect":
                raise ClientGoneError
            part = message.get("body", b"")
            size += len(part)
            if size > limit:
                raise _too_large(limit)
            more = message.get("more_body", False)
            yield part

    # ---- what is answered --------------------------------------------------------------------------------

    async def respond(
        self, status: int, body: bytes, headers: Iterable[tuple[bytes, bytes]] = (JSON,)
    ) -> None:
        """A whole answer."""
        await self._begin(status, [(b"content-length", b"%d" % len(body)), *headers])
        self.finished = True
        await self._send({"type": "http.response.body", "body": body})

    async def refuse(self, error: DragomanError, *, linger: tuple[int, float]) -> None:
        """An error: as an answer, or as the last event of a stream that has begun.

        A client whose body was cut off may not read before it has sent all, so what it still sends is read
        and thrown away, up to `linger` (bytes, seconds).
        """
        if self.finished:
            return
        if self.status:
            await self._refuse_stream(error, linger[1])
            return
        body = encode_error(error, self.request_id)
        headers = [(b"content-length", b"%d" % len(body)), JSON, *error_headers(error)]
        cut = isinstance(error, RequestTooLargeError | RequestTimeoutError)
        await self._begin(error.status, [*headers, CLOSE] if cut else headers)
        await self._send({"type": "http.response.body", "body": body, "more_body": cut})
        self.finished = True
        if cut:
            await self._discard(*linger)
            await self._send({"type": "http.response.body", "body": b""})

    async def _refuse_stream(self, error: DragomanError, seconds: float) -> None:
        if self._is_download:
            # bytes hold no events: that some are missing is told by the connection's end
            await self.abort()
            return
        try:
            async with asyncio.timeout(seconds):
                await self.write((self.on_error or self._error_event)(error))
                await self.end()
        except TimeoutError:
            await self.abort()

    async def begin_stream(self, headers: Iterable[tuple[bytes, bytes]], *, stall: float) -> None:
        """The head of a stream of events; a client that then reads nothing for `stall` seconds is cut off."""
        stream = (b"content-type", b"text/event-stream; charset=utf-8")
        await self._begin(
            200, [stream, (b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no"), *headers]
        )
        self._stall_timer = self._loop.call_later(stall, self._check_stall, stall)

    async def begin_download(self, headers: Iterable[tuple[bytes, bytes]], *, stall: float) -> None:
        """The head of bytes that are written piece by piece; an error after it cuts the connection."""
        self._is_download = True
        await self._begin(200, list(headers))
        self._stall_timer = self._loop.call_later(stall, self._check_stall, stall)

    async def write(self, data: bytes) -> None:
        """A piece of a stream; waits while the client does not read."""
        self._writing_since = self._loop.time()
        await self._send({"type": "http.response.body", "body": data, "more_body": True})
        self._writing_since = None

    async def end(self) -> None:
        """The end of a stream."""
        self.finished = True
        await self._send({"type": "http.response.body", "body": b""})

    async def abort(self) -> None:
        """Cuts the connection, sent or unsent, where the server can."""
        cut = self.scope.get("extensions", {}).get(ABORT, {}).get("cut")
        if cut is not None:
            cut()
            await self._receive()

    async def _begin(self, status: int, headers: Headers) -> None:
        self.status = status
        named = [(b"request-id", self.request_id.encode()), *headers, *self.extra]
        await self._send({"type": "http.response.start", "status": status, "headers": named})

    async def _discard(self, most: int, seconds: float) -> None:
        left = most * _LINGER
        try:
            async with asyncio.timeout(seconds):
                while left > 0:
                    message: Message = await self._receive()
                    left -= len(message.get("body", b""))
                    if not message.get("more_body", False):
                        return
        except TimeoutError:
            return

    def _error_event(self, error: DragomanError) -> bytes:
        return encode_error_event(error, self.request_id)

    # ---- who may end it early ----------------------------------------------------------------------------

    def interrupt(self, reason: Exception) -> None:
        """Stops the work inside `async with exchange`; the block then raises `reason`."""
        if self._task is not None and self._reason is None:
            self._reason = reason
            self._task.cancel()

    def watch(self) -> None:
        """From here on (the body is read) a client that goes away interrupts the work."""
        self._watcher = self._loop.create_task(self._await_disconnect())

    async def __aenter__(self) -> Exchange:
        self._task = asyncio.current_task()
        assert self._task is not None
        self._cancelling = self._task.cancelling()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        task, self._task = self._task, None
        for helper in (self._watcher, self._stall_timer):
            if helper is not None:
                helper.cancel()
        # a cancelled task remembers this exchange; together they would wait for the garbage collector
        self._watcher = self._stall_timer = None
        assert task is not None
        if self._reason is not None:
            is_ours = task.uncancel() <= self._cancelling
            if is_ours and kind is asyncio.CancelledError:
                raise self._reason from None

    async def _await_disconnect(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            continue
        # a server also says this when the answer is complete
        if not self.finished:
            self.interrupt(ClientGoneError())

    def _check_stall(self, stall: float) -> None:
        since = self._writing_since
        waited = 0.0 if since is None else self._loop.time() - since
        if waited >= stall:
            self.interrupt(ClientStalledError())
        else:
            self._stall_timer = self._loop.call_later(stall - waited, self._check_stall, stall)


def _too_large(limit: int) -> RequestTooLargeError:
    return RequestTooLargeError(f"the request's body is larger than {limit} bytes")


def media_type(exchange: Exchange) -> str:
    """The declared type of the body, without parameters, in lower case."""
    return exchange.header(b"content-type").partition(";")[0].strip().lower()


def require_json(exchange: Exchange) -> None:
    """Refuses a body that is not declared as JSON: a web page can post any other type without asking."""
    kind = media_type(exchange)
    if kind != "application/json" and not kind.endswith("+json"):
        raise UnsupportedMediaTypeError("content-type: must be application/json")


def require_version(exchange: Exchange) -> str:
    """The API version that the client names; "" where it names none."""
    version = exchange.header(b"anthropic-version")
    parts = version.split("-")
    if version and ([len(part) for part in parts] != [4, 2, 2] or not version.replace("-", "").isdigit()):
        raise InvalidRequestError(f"anthropic-version: {version[:40]!r} is not a version, a date is expected")
    return version


def betas_of(exchange: Exchange) -> tuple[str, ...]:
    """The betas that the client names."""
    named = ",".join(exchange.header_values(b"anthropic-beta")).split(",")
    return tuple(beta.strip() for beta in named if beta.strip())
