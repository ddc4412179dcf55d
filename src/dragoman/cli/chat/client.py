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


class _ErrorBody(msgspec.Struct):
    type: str = "error"
    message: str = ""


class _Envelope(msgspec.Struct):
    error: _ErrorBody
    type: str = ""
    request_id: str | None = None


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
                f"{self.url}/api/hello", timeout=aiohttp.ClientTimeout(total=_PROBE)
            ) as response:
                return b'"name":"dragoman"' in await response.content.read(1000)
        except (aiohttp.ClientError, TimeoutError, OSError):
            return False

    async def models(self) -> list[str]:
        """The names of the models that the server lists."""
        try:
            async with self._http().get(f"{self.url}/v1/models?limit=1000") as response:
                body = await response.read()
                if response.status != 200:
                    raise _refusal(response, body)
                return [model.id for model in msgspec.json.decode(body, type=_Models).data]
        except msgspec.DecodeError as error:
            raise ServerError(f"{self.url} does not list its models as this API does") from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._unreachable(error) from error

    async def stream(self, body: dict[str, Any]) -> AsyncGenerator[bytes]:
        """The data of the events that answer a request; raises `ServerError`, also for an `error` event."""
        request = msgspec.json.encode({**body, "stream": True})
        headers = {"content-type": "application/json"}
        try:
            async with self._http().post(
                f"{self.url}/v1/messages", data=request, headers=headers
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
    parts = urlsplit(root)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
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
            yield data


def _failure_in(data: bytes) -> ServerError | None:
    """The failure that an `error` event reports, None for any other event."""
    if b'"error"' not in data:
        return None
    envelope = _envelope(data)
    if envelope is None or envelope.type != "error":
        return None
    return ServerError(_said(envelope), request_id=envelope.request_id or "")


def _refusal(response: aiohttp.ClientResponse, body: bytes) -> ServerError:
    envelope = _envelope(body)
    request_id = response.headers.get("request-id", "")
    if envelope is None:
        said = f"HTTP {response.status} {response.reason or ''}".strip()
        return ServerError(said, status=response.status, request_id=request_id)
    request_id = envelope.request_id or request_id
    return ServerError(_said(envelope), status=response.status, request_id=request_id)


def _envelope(data: bytes) -> _Envelope | None:
    try:
        return msgspec.json.decode(data, type=_Envelope)
    except msgspec.DecodeError:
        return None


def _said(envelope: _Envelope) -> str:
    return " ".join(f"{envelope.error.type}: {envelope.error.message}".split())
