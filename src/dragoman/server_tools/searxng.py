"""A SearXNG server as the search engine: its JSON answers."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import aiohttp
import msgspec

from dragoman.server_tools.base import Hit, SearchScope, ServerToolError

_MOST_HITS = 10
_LARGEST = 4 * 1024 * 1024
_HEADERS = {"Accept": "application/json", "User-Agent": "dragoman"}


class _Result(msgspec.Struct):
    url: str
    title: str | None = None
    content: str | None = None
    publishedDate: str | None = None  # noqa: N815 - the name of the wire


class _Answer(msgspec.Struct):
    results: list[msgspec.Raw] = []


_decode = msgspec.json.Decoder(_Answer).decode


class SearXNG:
    """`web_search` by a SearXNG server, whose settings must allow `json` under `search.formats`."""

    def __init__(self, url: str, *, seconds: float) -> None:
        self._url = f"{url.rstrip('/')}/search"
        self._timeout = aiohttp.ClientTimeout(total=seconds)

    async def search(self, query: str, scope: SearchScope) -> list[Hit]:
        """The server's first hits; of one allowed domain they are asked for with `site:`."""
        domains = scope.allowed_domains
        words = f"{query} site:{domains[0]}" if len(domains) == 1 else query
        try:
            found = _decode(await self._get(words))
        except (TimeoutError, aiohttp.ClientError) as error:
            raise ServerToolError("unavailable", f"SearXNG: {type(error).__name__}") from error
        except msgspec.DecodeError as error:
            raise ServerToolError("unavailable", f"SearXNG sent what is no answer: {error}") from error
        return list(islice(_hits(found.results), _MOST_HITS))

    async def _get(self, words: str) -> bytes:
        params = {"q": words, "format": "json"}
        async with (
            aiohttp.ClientSession(timeout=self._timeout, headers=_HEADERS) as session,
            session.get(self._url, params=params, allow_redirects=False) as response,
        ):
            if response.status == 429:
                raise ServerToolError("too_many_requests", "SearXNG is busy")
            if response.status == 403:
                raise ServerToolError("unavailable", "SearXNG refuses: is json among its search.formats?")
            if response.status != 200:
                raise ServerToolError("unavailable", f"SearXNG answered with status {response.status}")
            body = await response.content.read(_LARGEST + 1)
            while len(body) <= _LARGEST and (more := await response.content.read(_LARGEST)):
                body += more
            if len(body) > _LARGEST:
                raise ServerToolError("unavailable", "SearXNG sent too much")
            return body


def _hits(results: list[msgspec.Raw]) -> Iterator[Hit]:
    """The results that lead anywhere; its many engines may add some that do not."""
    for result in results:
        try:
            hit = msgspec.json.decode(result, type=_Result)
        except msgspec.ValidationError:
            continue
        yield Hit(title=hit.title or hit.url, url=hit.url, text=hit.content or "", age=hit.publishedDate)
