"""Fetching an address that a client or a model names: public addresses only, bounded in bytes and time."""

from __future__ import annotations

import asyncio
import socket
import zlib
from collections.abc import Awaitable, Callable, Sequence
from email.message import Message
from ipaddress import ip_address
from typing import Any

import aiohttp
import msgspec
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from dragoman.content.addresses import is_public
from dragoman.content.media import charset_of_text
from dragoman.content.refusal import ContentError
from dragoman.settings import Fetch

Lookup = Callable[[str, int], Awaitable[Sequence[str]]]
"""The addresses of a host's name."""
Allow = Callable[[str], bool]
"""Whether an address may be connected to."""

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_PIECE = 64 * 1024
_NOT_UNPACKED = "its server sent what cannot be unpacked"
_HEADERS = {"Accept": "*/*", "Accept-Encoding": "gzip", "User-Agent": "dragoman"}


class FetchError(ContentError):
    """Why there is nothing to be had from an address, in words for the client.

    `code` is one of the error codes of the API's own web fetch tool.
    """

    def __init__(self, message: str, code: str = "url_not_accessible") -> None:
        super().__init__(message)
        self.code = code


class Fetched(msgspec.Struct, frozen=True, kw_only=True):
    """What an address led to: the last address of all redirects, what its server calls it, its bytes."""

    url: str
    media_type: str
    data: bytes
    charset: str = ""


class Fetcher:
    """Gets addresses over http and https.

    A name is looked up once and each of its addresses has to be public; the connection goes to exactly these.
    No cookies, no credentials, no proxy. `allow` takes the place of that check and `lookup` that of the
    system's own, for tests; no setting does.
    """

    def __init__(self, limits: Fetch, *, allow: Allow = is_public, lookup: Lookup | None = None) -> None:
        self._limits = limits
        self._allow = allow
        self._lookup = lookup or system_lookup
        self._session: aiohttp.ClientSession | None = None

    async def get(self, url: str) -> Fetched:
        """What an address leads to; `FetchError` says why there is nothing."""
        try:
            async with asyncio.timeout(self._limits.seconds):
                return await self._follow(_checked(url))
        except TimeoutError:
            raise FetchError(f"it took longer than {self._limits.seconds:g} s (fetch.seconds)") from None
        except (aiohttp.ClientError, OSError, ValueError):
            # a ValueError is an address or a head that the library cannot read
            raise FetchError("its server cannot be reached, or its answer is no legal HTTP") from None

    async def aclose(self) -> None:
        """Closes the connections. Safe to call twice; a later `get` opens them again."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _follow(self, url: URL) -> Fetched:
        for _ in range(self._limits.max_redirects + 1):
            if _is_address(url.host or ""):
                # the client library asks no resolver about these
                self._check(url.host or "")
            async with self._opened().get(url, headers=_HEADERS, allow_redirects=False) as response:
                if response.status not in _REDIRECTS:
                    return await self._read(url, response)
                target = response.headers.get("Location", "")
            url = _checked(str(url.join(URL(target))))
        raise FetchError(f"it leads on more than {self._limits.max_redirects} times (fetch.max_redirects)")

    async def _read(self, url: URL, response: aiohttp.ClientResponse) -> Fetched:
        if not 200 <= response.status < 300:
            code = "too_many_requests" if response.status == 429 else "url_not_accessible"
            raise FetchError(f"its server answered with status {response.status}", code)
        head = Message()
        head["Content-Type"] = response.headers.get("Content-Type", "application/octet-stream")
        body = _Body(response.headers.get("Content-Encoding", ""), self._limits.max_bytes)
        async for piece in response.content.iter_chunked(_PIECE):
            body.feed(piece)
        return Fetched(
            url=str(url),
            media_type=head.get_content_type(),
            charset=charset_of_text(head.get_content_charset("")),
            data=body.whole(),
        )

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    resolver=_CheckedResolver(self._addresses),
                    use_dns_cache=False,
                    force_close=True,
                    limit=16,
                    socket_factory=self._socket,
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None),
                auto_decompress=False,
                trust_env=False,
            )
        return self._session

    async def _addresses(self, host: str, port: int) -> Sequence[str]:
        try:
            found = await self._lookup(host, port)
        except OSError:
            raise FetchError("the name of its server is not known") from None
        for address in found:
            self._check(address)
        return found

    def _socket(self, info: tuple[Any, Any, int, str, tuple[Any, ...]]) -> socket.socket:
        """The last gate, which every connection passes: only what was checked is connected to."""
        family, kind, protocol, _, place = info
        if not self._allow(str(place[0])):
            raise PermissionError("not a public address")
        return socket.socket(family, kind, protocol)

    def _check(self, address: str) -> None:
        if not self._allow(address):
            raise FetchError("it does not lead to the public internet", "url_not_allowed")


class _CheckedResolver(AbstractResolver):
    """Hands the client library addresses that were checked."""

    def __init__(self, addresses: Lookup) -> None:
        self._addresses = addresses

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for address in await self._addresses(host, port)
        ]

    async def close(self) -> None:
        """Nothing is held."""


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


async def system_lookup(host: str, port: int) -> list[str]:
    """The addresses of a name, as the system finds them."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(info[4][0]) for info in found))


def _checked(text: str) -> URL:
    """An address that is one, of the web, and holds no credentials."""
    try:
        url = URL(text)
        host, port = url.host, url.port
    except ValueError:
        raise FetchError("it is no address", "invalid_tool_input") from None
    if url.scheme not in {"http", "https"} or not host or not port:
        raise FetchError("Input should be an http or https address", "invalid_tool_input")
    if url.user is not None or url.password is not None:
        raise FetchError("it holds credentials, which are not sent from here", "url_not_allowed")
    return url


class _Body:
    """Collects a body, unpacked in steps so that a small piece cannot become a large one at once."""

    def __init__(self, encoding: str, max_bytes: int) -> None:
        name = encoding.strip().lower()
        if name not in {"", "identity", "gzip", "x-gzip"}:
            raise FetchError("its server sent it in an encoding that was not asked for")
        self._packed = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16) if "gzip" in name else None
        self._max_bytes = max_bytes
        self._data = bytearray()

    def feed(self, piece: bytes) -> None:
        """Takes one piece as it came."""
        if self._packed is None:
            self._add(piece)
            return
        try:
            while piece and not self._packed.eof:
                self._add(self._packed.decompress(piece, _PIECE))
                piece = self._packed.unconsumed_tail
        except zlib.error:
            raise FetchError(_NOT_UNPACKED) from None

    def whole(self) -> bytes:
        """All of it, when nothing follows."""
        if self._packed is not None and not self._packed.eof:
            raise FetchError(_NOT_UNPACKED)
        return bytes(self._data)

    def _add(self, part: bytes) -> None:
        self._data += part
        if len(self._data) > self._max_bytes:
            raise FetchError(
                f"it is longer than {self._max_bytes} bytes (fetch.max_bytes)", "content_too_large"
            )
