"""The Messages API from the client's side, of any server that speaks it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import msgspec

from dragoman.errors import DragomanError, SettingsError
from dragoman.server.guard import is_loopback
from dragoman.wire.sse import SSEDecoder

VERSION = "2023-06-01"
_CONNECT = 10.0
# A long prompt on a slow machine: silence of ten minutes, pings included, is the end.
_SILENCE = 600.0
_PROBE = 2.0


class ServerError(Exception):
    """An answer that did not come; the text is one line for people. status: that of HTTP, 0 without one."""

    def __init__(self, message: str, *, status: int = 0, request_id: str = "") -> None:
        super().__init__(f"{message} ({request_id})" if request_id else message)
        self.status = status


# What is raised where bytes are no JSON, no text, or nested more deeply than can be read.
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class _Model(msgspec.Struct):
    id: str


class _Models(msgspec.Struct):
    data: list[_Model]


class ChatClient:
    """One server. Its connections open at first use, and close with `aclose`."""

    def __init__(self, url: str, headers: Mapping[str, str] | None = None) -> None:
        self.url = server_root(url)
        self._headers = {"anthropic-version": VERSION, **(headers or {})}
        self.silence = _SILENCE
        self._session: aiohttp.ClientSession | None = None

    async def aclose(self) -> None:
        """Closes the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def is_dragoman(self) -> bool:
        """Whether a Dragoman answers there; never raises, and does not wait long."""
        try:
            async with self._http().get(
                f"{self.url}/api/hello", timeout=aiohttp.ClientTimeout(total=_PROBE), allow_redirects=False
            ) as response:
                return b'"name":"dragoman"' in await response.content.read(1000)
        except (aiohttp.ClientError, TimeoutError, OSError):
            return False

    async def models(self) -> list[str]:
        """The names of the models that the server lists."""
        try:
            async with self._http().get(
                f"{self.url}/v1/models?limit=1000", allow_redirects=False
            ) as response:
                body = await response.read()
                if response.status != 200:
                    raise _refusal(response, body)
                return [model.id for model in msgspec.json.decode(body, type=_Models).data]
        except _UNREADABLE as error:
            raise ServerError(f"{self.url} does not list its models as this API does") from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._unreachable(error) from error

    async def stream(self, body: dict[str, Any]) -> AsyncGenerator[bytes]:
        """The data of the events that answer a request; raises `ServerError`, also for an `error` event."""
        request = msgspec.json.encode({**body, "stream": True})
        headers = {"content-type": "application/json"}
        try:
            async with self._http().post(
                f"{self.url}/v1/messages", data=request, headers=headers, allow_redirects=False
            ) as response:
                if response.status != 200:
                    raise _refusal(response, await response.read())
                if response.content_type != "text/event-stream":
                    raise ServerError(f"{self.url} answers with {response.content_type} and no event stream")
                async for data in _events(response):
                    yield data
        except aiohttp.ClientPayloadError as error:
            raise ServerError("the server cut the connection in the middle of its answer") from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._unreachable(error) from error

    def _http(self) -> aiohttp.ClientSession:
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=None, connect=_CONNECT, sock_read=self.silence)
            # a proxy stands before other machines, never before this one
            proxied = not is_loopback(urlsplit(self.url).hostname or "")
            self._session = aiohttp.ClientSession(headers=self._headers, timeout=timeout, trust_env=proxied)
        return self._session

    def _unreachable(self, error: Exception) -> ServerError:
        if isinstance(error, TimeoutError):
            return ServerError(f"{self.url} does not answer in time")
        return ServerError(f"{self.url} cannot be reached: {error}")


def server_root(url: str) -> str:
    """A server's address without the path that follows it; `SettingsError` for what is no address."""
    root = url.rstrip("/").removesuffix("/v1/messages").removesuffix("/v1").rstrip("/")
    try:
        parts = urlsplit(root)
        # both raise for what no connection could use
        host, _port = (parts.hostname or "").encode("idna"), parts.port
    except ValueError as error:
        raise SettingsError(f"--url: {url!r} is no address: {error}") from error
    if parts.scheme not in {"http", "https"} or not host:
        raise SettingsError(f"--url: {url!r} is no address that begins with http:// or https://")
    return root


async def _events(response: aiohttp.ClientResponse) -> AsyncGenerator[bytes]:
    decoder = SSEDecoder()
    async for piece in response.content.iter_any():
        try:
            found = decoder.feed_data(piece)
        except DragomanError as error:
            raise ServerError("the server sent an event that is too large") from error
        for data in found:
            if data == b"[DONE]":
                return
            if (failure := _failure_in(data)) is not None:
                raise failure
            # some servers keep a connection alive with events that hold nothing
            if data.strip():
                yield data


def _failure_in(data: bytes) -> ServerError | None:
    """The failure that an `error` event reports, or an error that stands in an event's place; else None."""
    if b'"error"' not in data:
        return None
    value = _object(data)
    if value.get("type") != "error" and ("type" in value or value.get("error") is None):
        return None
    said = _said(value) or "error: the server does not say which"
    return ServerError(said, request_id=_text(value.get("request_id")))


def _refusal(response: aiohttp.ClientResponse, body: bytes) -> ServerError:
    value = _object(body)
    request_id = _text(value.get("request_id")) or response.headers.get("request-id", "")
    said = _said(value) or f"HTTP {response.status} {response.reason or ''}".strip()
    target = response.headers.get("location")
    if target and 300 <= response.status < 400:
        # followed, it would hand the key and the conversation to whoever is named there
        said = f"HTTP {response.status}: the server sends us on to {target}; --url can name that address"
    return ServerError(said, status=response.status, request_id=request_id)


def _object(data: bytes) -> dict[str, Any]:
    """A JSON object's members, none where it is no such object."""
    try:
        value = msgspec.json.decode(data)
    except _UNREADABLE:
        return {}
    return value if isinstance(value, dict) else {}


def _said(value: dict[str, Any]) -> str:
    """An error's type and cause in one line, in whatever shape a server has for them; "" without any."""
    error = value.get("error")
    if error is None:
        error = {"message": value.get("message")} if value.get("message") else None
    if isinstance(error, dict):
        kind = _text(error.get("type")) or "error"
        message = error.get("message")
        cause = _text(message) if message is not None else _text(error)
        return " ".join(f"{kind}: {cause}".split())
    return " ".join(f"error: {_text(error)}".split()) if error is not None else ""


def _text(value: object) -> str:
    """A string as it is, another value as JSON, "" for null."""
    if value is None or isinstance(value, str):
        return value or ""
    return msgspec.json.encode(value).decode()
