"""What a tool that runs here has to offer: one method each."""

from __future__ import annotations

from typing import Protocol

import msgspec

from dragoman.translate.server_tools import Kind
from dragoman.wire.anthropic.request import UserLocation


class ServerToolError(Exception):
    """Why a call gave nothing; the model reads `code`, which is one of the API's error codes for that tool.

    Another code than those becomes "unavailable". `detail` goes to the log.
    """

    def __init__(self, code: str, detail: str = "") -> None:
        super().__init__(detail or code)
        self.code = code
        self.detail = detail


class Hit(msgspec.Struct, frozen=True, kw_only=True):
    """One result of a search. `text` is what the model reads of it, `age` how old the page is, in words."""

    title: str
    url: str
    text: str = ""
    age: str | None = None


class SearchScope(msgspec.Struct, frozen=True, kw_only=True):
    """What a request says of its searches: a hint for a backend, since hits outside are left out anyway."""

    allowed_domains: tuple[str, ...] = ()
    blocked_domains: tuple[str, ...] = ()
    location: UserLocation | None = None


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """A page as text, and where it was found in the end."""

    url: str
    text: str
    title: str | None = None


class WebSearch(Protocol):
    """Finds pages."""

    async def search(self, query: str, scope: SearchScope) -> list[Hit]:
        """The hits, best first; may raise `ServerToolError`."""


class WebFetch(Protocol):
    """Reads pages."""

    async def fetch(self, url: str) -> Page:
        """The page at an address; may raise `ServerToolError`."""


class ServerTools(msgspec.Struct, frozen=True, kw_only=True):
    """The tools that run on a server. The search for deferred tools is always one of them."""

    web_search: WebSearch | None = None
    web_fetch: WebFetch | None = None

    @property
    def kinds(self) -> frozenset[Kind]:
        """What a request may declare."""
        kinds: set[Kind] = {"tool_search"}
        if self.web_search is not None:
            kinds.add("web_search")
        if self.web_fetch is not None:
            kinds.add("web_fetch")
        return frozenset(kinds)
