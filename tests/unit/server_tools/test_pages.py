"""Pages as text."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from dragoman.server_tools import Page, ServerToolError, html_text, pages
from dragoman.server_tools.pages import PageFetch

URL = "https://a.example/"


class Got(msgspec.Struct, frozen=True):
    """What an address led to."""

    media_type: str
    data: bytes
    charset: str = ""
    url: str = URL + "end"


def fetch_of(got: Got, **more: Any) -> PageFetch:
    async def get(url: str) -> Got:
        assert url == URL
        return got

    return PageFetch(get, **more)


@pytest.mark.parametrize(
    ("got", "title", "text"),
    [
        (Got("text/html", b"<title>T</title><p>a<p>b"), "T", "a\nb"),
        (Got("application/xhtml+xml", b"<p>a"), None, "a"),
        (Got("text/plain", "caf\u00e9".encode("latin-1"), "latin-1"), None, "caf\u00e9"),
        (Got("text/plain", b"a\xff", "no-such-charset"), None, "a\ufffd"),
        # by the letter of its name this would take time by the square of the length
        (Got("text/plain", b"a-b9", "punycode"), None, "a-b9"),
        (Got("text/plain", b"a", "idna"), None, "a"),
        (Got("text/html", b"<title>&#xd800;</title>\xff+2AA-", "utf-7"), "\ufffd", "\ufffd?"),
        (Got("application/json", b"{}"), None, "{}"),
        (Got("application/ld+json", b"{}"), None, "{}"),
    ],
)
async def test_texts_are_read(got: Got, title: str | None, text: str) -> None:
    assert await fetch_of(got).fetch(URL) == Page(url=URL + "end", title=title, text=text)


async def test_a_pdf_is_read_where_something_can() -> None:
    async def pdf_text(data: bytes) -> str:
        return f"{len(data)} bytes"

    got = Got("application/pdf", b"%PDF")
    assert (await fetch_of(got, pdf_text=pdf_text).fetch(URL)).text == "4 bytes"
    with pytest.raises(ServerToolError) as refused:
        await fetch_of(got).fetch(URL)
    assert refused.value.code == "unsupported_content_type"


async def test_what_is_no_text_is_refused() -> None:
    with pytest.raises(ServerToolError) as refused:
        await fetch_of(Got("image/png", b"")).fetch(URL)
    assert (refused.value.code, refused.value.detail) == (
        "unsupported_content_type",
        "image/png cannot be read",
    )


async def test_a_page_that_is_not_read_in_time_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "_SECONDS", 0.5)
    with pytest.raises(ServerToolError) as refused:
        await fetch_of(Got("text/html", b"<a " * 200_000)).fetch(URL)
    assert "0.5 s" in refused.value.detail


async def test_a_reading_that_fails_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(html_text, "__file__", "/no/such/file.py")
    with pytest.raises(ServerToolError) as refused:
        await fetch_of(Got("text/html", b"<p>a")).fetch(URL)
    assert refused.value.code == "unavailable"
