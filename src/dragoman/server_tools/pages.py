"""Pages of the web as text, over something that gets addresses safely."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

from dragoman.server_tools.base import Page, ServerToolError
from dragoman.server_tools.html_text import text_of

_PAGES = frozenset({"text/html", "application/xhtml+xml"})
_TEXTS = frozenset({"application/json", "application/xml", "application/javascript", "application/x-yaml"})


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
            page = await asyncio.to_thread(text_of, _decoded(got))
            return Page(url=got.url, title=page.title or None, text=page.body)
        if got.media_type.startswith("text/") or got.media_type in _TEXTS or _is_json(got.media_type):
            return Page(url=got.url, text=_decoded(got))
        raise ServerToolError("unsupported_content_type", f"{got.media_type} cannot be read")


def _is_json(media_type: str) -> bool:
    return media_type.endswith(("+json", "+xml"))


def _decoded(got: Got) -> str:
    try:
        return got.data.decode(got.charset or "utf-8", errors="replace")
    except LookupError:
        return got.data.decode("utf-8", errors="replace")
