"""Pages of the web as text, over something that gets addresses safely."""

from __future__ import annotations

import codecs
from collections.abc import Awaitable, Callable
from typing import Protocol

from dragoman.server_tools import html_text
from dragoman.server_tools.apart import run_apart
from dragoman.server_tools.base import Page, ServerToolError

_PAGES = frozenset({"text/html", "application/xhtml+xml"})
_TEXTS = frozenset({"application/json", "application/xml", "application/javascript", "application/x-yaml"})
# Python's codecs that are no charset of a page: they fail, or take time by the square of the length.
_NO_CHARSETS = frozenset({"idna", "punycode", "undefined"})
_SECONDS = 10.0


class Got(Protocol):
    """What an address led to."""

    @property
    def url(self) -> str:
        """The last address of all redirects."""

    @property
    def media_type(self) -> str:
        """What its server calls it."""

    @property
    def charset(self) -> str:
        """The encoding of its text, "" where none is said."""

    @property
    def data(self) -> bytes:
        """Its bytes."""


Get = Callable[[str], Awaitable[Got]]
"""Gets an address, never one of a private network; raises `ServerToolError`."""
PdfText = Callable[[bytes], Awaitable[str]]
"""The text of a PDF; raises `ServerToolError`."""


class PageFetch:
    """`web_fetch`: HTML, texts and, with `pdf_text`, PDFs."""

    def __init__(self, get: Get, *, pdf_text: PdfText | None = None) -> None:
        self._get = get
        self._pdf_text = pdf_text

    async def fetch(self, url: str) -> Page:
        """The page at an address as text."""
        got = await self._get(url)
        if got.media_type == "application/pdf" and self._pdf_text is not None:
            return Page(url=got.url, text=await self._pdf_text(got.data))
        if got.media_type in _PAGES:
            title, text = await _html_text(_decoded(got))
            return Page(url=got.url, title=title or None, text=text)
        if got.media_type.startswith("text/") or got.media_type in _TEXTS or _is_json(got.media_type):
            return Page(url=got.url, text=_decoded(got))
        raise ServerToolError("unsupported_content_type", f"{got.media_type} cannot be read")


def _is_json(media_type: str) -> bool:
    return media_type.endswith(("+json", "+xml"))


async def _html_text(html: str) -> tuple[str, str]:
    """A page's title and text. The library's time can grow with the square of a page's length."""
    data = html.encode(errors="replace")
    status, out = await run_apart(html_text.__file__, data=data, seconds=_SECONDS)
    if status:
        raise ServerToolError("unavailable", f"the reading of the page ended with status {status}")
    title, _, text = out.decode().partition("\n")
    return title, text


def _decoded(got: Got) -> str:
    try:
        codec = codecs.lookup(got.charset or "utf-8").name
        return got.data.decode("utf-8" if codec in _NO_CHARSETS else codec, errors="replace")
    except LookupError:
        return got.data.decode("utf-8", errors="replace")
