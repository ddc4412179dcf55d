"""HTTP to one engine: pooled connections, finite waits, and our errors for everything that can go wrong."""

from __future__ import annotations

import asyncio
import email.utils
import io
import os
import re
import ssl
import time
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Protocol
from urllib.parse import SplitResult, urlsplit

import aiohttp
import msgspec

from dragoman.engines.base import EngineUnreachableError
from dragoman.engines.dialects.base import Reply
from dragoman.engines.dialects.errors import error_of_reply
from dragoman.errors import (
    DragomanError,
    EngineFaultError,
    EngineLostError,
    EngineTimeoutError,
    OverloadedError,
    SettingsError,
)
from dragoman.settings import Limits, Timeouts

# uvicorn and llama.cpp close an idle connection after five seconds: ours is closed before, even where this
# process read the end of the last answer seconds after it was written.
KEEP_ALIVE_SECONDS = 2.0
# Seconds within which the end of a kept connection means that it had been closed before it was used. A
# process that reads fifty other answers sees it some tenths late.
STRAIGHT_AWAY = 0.5
MOST_ANSWER_BYTES = 64 * 1024 * 1024
_SCHEME = re.compile(r"^\w*://")
_QUERY = re.compile(r"[?#]")
_NO_PATH_FOLLOWS = re.compile(r"[\s?#]")
# The client library warns when it is handed more than this in one piece.
_ONE_PIECE = 1024 * 1024


def engine_root(url: str) -> str:
    """An engine's address without a last `/`, `/v1` or the path of its chat endpoint.

    `SettingsError` where it is no http(s) address to which paths can be added.
    """
    parts = _split(url)
    if parts is None or parts.scheme not in {"http", "https"} or not parts.hostname:
        raise SettingsError(f"engines: {_shown(url)!r} is not an address like http://127.0.0.1:8000")
    if parts.username is not None:
        raise SettingsError(
            f"engines: put the key of {parts.hostname} into `key` or `key_env`, not into `url`"
        )
    return url.rstrip("/").removesuffix("/chat/completions").removesuffix("/v1").rstrip("/")


def _shown(url: str) -> str:
    """An address without what may hold a key: user, query, fragment."""
    rest = _SCHEME.sub("", url)
    place, *query = _QUERY.split(rest, maxsplit=1)
    # a key may itself hold these characters: then it is not told what is before and what behind
    is_clear = "@" not in "".join(query)
    return url.removesuffix(rest) + (place.rpartition("@")[2] if is_clear else "...")


def _split(url: str) -> SplitResult | None:
    """An address in parts; None where its host or port can be none, or where no path can follow it."""
    try:
        parts = urlsplit(url)
        # both raise where they have no form that a connection could use
        _host, _port = (parts.hostname or "").encode("idna"), parts.port
    except ValueError:
        return None
    return None if _NO_PATH_FOLLOWS.search(url) else parts


class Content(Protocol):
    """The body of an answer while it arrives."""

    async def readany(self) -> bytes:
        """What has arrived, at least one byte; nothing at the end."""

    def at_eof(self) -> bool:
        """Whether all was read."""


class Response(Protocol):
    """An answer whose status and headers are there: that of the HTTP client, or of an application here."""

    @property
    def status(self) -> int:
        """The HTTP status."""

    @property
    def headers(self) -> Mapping[str, str]:
        """By names in any case."""

    @property
    def content_type(self) -> str:
        """Without its parameters."""

    @property
    def content(self) -> Content:
        """The body."""

    def close(self) -> None:
        """Hangs up; after the end of the body it does nothing."""


class Transport:
    """Connections to one engine. `post` leaves the answer's body to its caller, `ask` reads it."""

    def __init__(
        self,
        root: str,
        key: str,
        timeouts: Timeouts,
        limits: Limits,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.root = root
        self._tls: ssl.SSLContext | bool = tls or True
        self.timeouts = timeouts
        self._limits = limits
        self._headers = {"Accept-Encoding": "identity", "Content-Type": "application/json"}
        if key:
            self._headers["Authorization"] = f"Bearer {key}"
        self._sessions: dict[str, aiohttp.ClientSession] = {}

    async def post(self, path: str, data: bytes) -> Response:
        """The answer, with its status and headers read."""
        return await self._request("POST", path, data)

    async def ask(self, path: str, body: object = None) -> Reply:
        """A short question, answered within the probe timeout; GET without a body, else POST."""
        return await self._ask(path, body, self.timeouts.probe)

    async def ask_long(self, path: str, body: object = None) -> Reply:
        """A question that may take as long as an answer begins to take: a count of a long prompt."""
        return await self._ask(path, body, self.timeouts.first_byte)

    async def _ask(self, path: str, body: object, limit: float) -> Reply:
        method, data = ("GET", None) if body is None else ("POST", msgspec.json.encode(body))
        try:
            async with asyncio.timeout(limit):
                response = await self._request(method, path, data)
                try:
                    return Reply(response.status, await _bounded(response))
                finally:
                    response.close()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise error_of_client(error) from error

    async def _request(self, method: str, path: str, data: bytes | None) -> Response:
        """A request on a pooled connection; where that had died unused, once more on a new one."""
        context = SimpleNamespace(reused_at=None, connects=False)
        try:
            try:
                return await self._try(self._pooled(), context, method, path, data)
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
                if not _died_unused(error, context.reused_at):
                    raise
            return await self._try(self._unpooled(), context, method, path, data)
        except (aiohttp.ClientError, TimeoutError) as error:
            if isinstance(error, aiohttp.ConnectionTimeoutError) and not context.connects:
                detail = f"no free connection within {self.timeouts.pool} s"
                raise OverloadedError("the engine has too much to do", log_detail=detail) from error
            raise error_of_client(error) from error

    async def _try(
        self,
        session: aiohttp.ClientSession,
        context: SimpleNamespace,
        method: str,
        path: str,
        data: bytes | None,
    ) -> aiohttp.ClientResponse:
        return await session.request(
            method,
            self.root + path,
            data=None if data is None else _body(data),
            trace_request_ctx=context,
            allow_redirects=False,
        )

    async def aclose(self) -> None:
        """Closes all connections."""
        sessions, self._sessions = self._sessions, {}
        for session in sessions.values():
            await session.close()

    def _pooled(self) -> aiohttp.ClientSession:
        # made late: it belongs to the event loop that runs
        if "pooled" not in self._sessions:
            most = self._limits.engine_connections
            connector = aiohttp.TCPConnector(limit=most, keepalive_timeout=KEEP_ALIVE_SECONDS, ssl=self._tls)
            self._sessions["pooled"] = self._session(connector)
        return self._sessions["pooled"]

    def _unpooled(self) -> aiohttp.ClientSession:
        """Connections for one request each: the pool may hold more that died."""
        if "unpooled" not in self._sessions:
            connector = aiohttp.TCPConnector(
                limit=self._limits.engine_connections, force_close=True, ssl=self._tls
            )
            self._sessions["unpooled"] = self._session(connector)
        return self._sessions["unpooled"]

    def _session(self, connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
        tracing = aiohttp.TraceConfig()
        tracing.on_connection_reuseconn.append(_note_reuse)
        tracing.on_connection_create_start.append(_note_connecting)
        return aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(
                total=None, connect=self.timeouts.pool, sock_connect=self.timeouts.connect
            ),
            headers=self._headers,
            trace_configs=[tracing],
            cookie_jar=aiohttp.DummyCookieJar(),
            middlewares=(),
        )


def _died_unused(error: aiohttp.ClientError, reused_at: float | None) -> bool:
    """Whether a kept connection ended so soon that it had most likely been closed while it was idle.

    Then the server has not seen the request. A server that crashes within `STRAIGHT_AWAY` looks the same,
    and gets it once more. One that ended later, or after a part of an answer, may have carried the request
    to a server that worked on it: that is not sent again.
    """
    began = isinstance(error, aiohttp.ServerDisconnectedError) and not isinstance(error.message, str)
    if reused_at is None or began or isinstance(error, aiohttp.ClientConnectorError):
        return False
    return asyncio.get_running_loop().time() - reused_at < STRAIGHT_AWAY


async def _note_reuse(
    _session: aiohttp.ClientSession,
    context: SimpleNamespace,
    _params: aiohttp.TraceConnectionReuseconnParams,
) -> None:
    context.trace_request_ctx.reused_at = asyncio.get_running_loop().time()


async def _note_connecting(
    _session: aiohttp.ClientSession,
    context: SimpleNamespace,
    _params: aiohttp.TraceConnectionCreateStartParams,
) -> None:
    context.trace_request_ctx.connects = True


class Watch:
    """Closes an answer that says nothing for too long while somebody waits for it.

    One timer for the whole answer, instead of one for each read, which would cost more than reading.
    """

    __slots__ = ("_limit", "_loop", "_response", "_since", "_timer", "expired")

    def __init__(self, response: Response, limit: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._response = response
        self._limit = limit
        self._since: float | None = None
        self._timer = self._loop.call_later(limit, self._check)
        self.expired = False

    async def read(self) -> bytes:
        """What has arrived, at least one byte; nothing at the end of the answer."""
        content = self._response.content
        self._since = self._loop.time()
        try:
            return await content.readany()
        except (aiohttp.ClientError, OSError) as error:
            if self.expired:
                detail = f"no byte from the engine for {self._limit} s"
                raise EngineTimeoutError("the engine stopped answering", log_detail=detail) from error
            raise EngineLostError(
                "the engine's answer ended early", log_detail=type(error).__name__, log_content=str(error)
            ) from error
        finally:
            self._since = None

    def relax(self, limit: float) -> None:
        """Changes how long a silence may be."""
        self._limit = limit
        self._timer.cancel()
        self._timer = self._loop.call_later(limit, self._check)

    def stop(self) -> None:
        """Ends the watch."""
        self._timer.cancel()

    def _check(self) -> None:
        left = self._limit if self._since is None else self._since + self._limit - self._loop.time()
        if left > 0:
            self._timer = self._loop.call_later(left, self._check)
        else:
            self.expired = True
            self._response.close()


async def read_whole(response: Response, silence: float) -> bytes:
    """The body of an answer, up to a bound; no silence in it may be longer than `silence` seconds."""
    watch = Watch(response, silence)
    pieces: list[bytes] = []
    size = 0
    try:
        while piece := await watch.read():
            size += len(piece)
            if size > MOST_ANSWER_BYTES:
                raise EngineFaultError(
                    "the engine's answer is too long", log_detail=f"more than {size} bytes"
                )
            pieces.append(piece)
    except BaseException:  # cancelled, too: half an answer must not go back to the pool as a free connection
        response.close()
        raise
    finally:
        watch.stop()
    return b"".join(pieces)


async def _bounded(response: Response) -> bytes:
    body = bytearray()
    while piece := await response.content.readany():
        body += piece
        if len(body) > MOST_ANSWER_BYTES:
            raise EngineFaultError(
                "the engine's answer is too long", log_detail=f"more than {len(body)} bytes"
            )
    return bytes(body)


def refusal(response: Response, body: bytes) -> DragomanError:
    """The error of an answer whose status is no success."""
    return error_of_reply(response.status, body, retry_after(response.headers.get("Retry-After")))


def retry_after(value: str | None) -> float | None:
    """Seconds to wait by a `Retry-After` header, which is a number or a date; None where it is neither."""
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        date = email.utils.parsedate_tz(value)
        if date is None:
            return None
        seconds = email.utils.mktime_tz(date) - time.time()
    return max(0.0, seconds) if seconds < float("inf") else None


def error_of_client(error: Exception) -> DragomanError:
    """Our error for a failure of the HTTP client before an answer came."""
    # other errors repeat bytes that the engine sent
    detail = f"{type(error).__name__}: {error}" if isinstance(error, OSError) else type(error).__name__
    if isinstance(error, aiohttp.ClientConnectorError):
        number, text = error.os_error.errno, error.os_error.strerror or str(error.os_error)
        # the system's own word for it: asyncio puts the address in its place
        why = os.strerror(number) if number is not None and number > 0 else text
        detail = f"no connection to {error.host} port {error.port}: {why}"
        return EngineUnreachableError("the engine cannot be reached", log_detail=detail)
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return EngineUnreachableError("the engine cannot be reached", log_detail=detail)
    if isinstance(error, TimeoutError):
        return EngineTimeoutError("the engine did not answer in time", log_detail=detail)
    message = "the engine closed the connection without an answer"
    return EngineLostError(message, log_detail=detail, log_content=str(error))


def _body(data: bytes) -> bytes | io.BytesIO:
    return data if len(data) < _ONE_PIECE else io.BytesIO(data)
