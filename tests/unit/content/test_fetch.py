"""Fetching addresses: what is refused, and that nothing gets round it."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from dragoman.content.fetch import Fetched, Fetcher, FetchError, Lookup, system_lookup
from dragoman.settings import Fetch
from tests.unit.content.webserver import PRIVATE, PUBLIC, Answers, WebServer, page, redirect, web_server

LIMITS = Fetch(max_bytes=100_000, seconds=5, max_redirects=2)


async def to_public(host: str, port: int) -> Sequence[str]:
    return [PUBLIC]


@asynccontextmanager
async def fetching(
    answers: Answers, lookup: Lookup = to_public, limits: Fetch = LIMITS
) -> AsyncIterator[tuple[Fetcher, WebServer]]:
    fetcher = Fetcher(limits, allow=lambda address: address == PUBLIC, lookup=lookup)
    async with web_server(answers) as server:
        try:
            yield fetcher, server
        finally:
            await fetcher.aclose()


async def refused(url: str, fetcher: Fetcher) -> FetchError:
    with pytest.raises(FetchError) as caught:
        await fetcher.get(url)
    return caught.value


async def test_a_page_is_fetched() -> None:
    async with fetching({"/a": page("Grüße".encode(), "Text/HTML; charset=UTF-8")}) as (fetcher, server):
        url = server.url("/a")
        assert await fetcher.get(url) == Fetched(
            url=url, media_type="text/html", charset="utf-8", data="Grüße".encode()
        )
        assert f"Host: files.example:{server.port}\r\n" in server.heads[0]


@pytest.mark.parametrize(
    "charset", ["punycode", "UTF7", "unicode_escape", "raw-unicode-escape", "idna", "undefined"]
)
async def test_what_only_python_calls_a_charset_is_none(charset: str) -> None:
    # punycode takes hours for some megabytes, and the escapes give halves of surrogate pairs
    kinds = {
        f"/{name}": page(b"a", f"text/plain; charset={name}") for name in (charset, "koi8-r", "unheard-of")
    }
    async with fetching(dict(kinds)) as (fetcher, server):
        found = [(await fetcher.get(server.url(path))).charset for path in kinds]
    assert found == ["", "koi8-r", "unheard-of"]


async def test_a_charset_that_cannot_be_a_name_is_no_legal_answer() -> None:
    async with fetching({"/a": page(b"a", "text/plain; charset*=utf-8''%00")}) as (fetcher, server):
        error = await refused(server.url("/a"), fetcher)
    assert "no legal HTTP" in error.message


async def test_the_client_says_nothing_about_anybody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    answers: Answers = {"/a": page(b"x", "text/plain", "Set-Cookie: a=b"), "/b": page(b"y")}
    async with fetching(answers) as (fetcher, server):
        await fetcher.get(server.url("/a"))
        await fetcher.get(server.url("/b"))
        names = {line.partition(":")[0] for head in server.heads for line in head.split("\r\n")[1:] if line}
        assert names == {"Host", "Accept", "Accept-Encoding", "User-Agent", "Connection"}


async def test_redirects_are_followed() -> None:
    answers: Answers = {"/a": redirect("b"), "/b": redirect("http://other.example/c"), "/c": page(b"there")}
    async with fetching(answers) as (fetcher, server):
        answers["/b"] = redirect(server.url("/c", "other.example"), 307)
        found = await fetcher.get(server.url("/a"))
        assert (found.url, found.data) == (server.url("/c", "other.example"), b"there")


async def test_redirects_have_an_end() -> None:
    async with fetching({"/a": redirect("/a")}) as (fetcher, server):
        assert "more than 2 times (fetch.max_redirects)" in (await refused(server.url("/a"), fetcher)).message
        assert len(server.asked) == 3


@pytest.mark.parametrize("host", [PRIVATE, "localhost.example"])
async def test_a_redirect_to_a_private_address_is_not_followed(host: str) -> None:
    async def lookup(name: str, port: int) -> Sequence[str]:
        return [PUBLIC if name == "files.example" else PRIVATE]

    answers: Answers = {"/secret": page(b"secret")}
    async with fetching(answers, lookup) as (fetcher, server):
        answers["/a"] = redirect(server.url("/secret", host))
        assert (await refused(server.url("/a"), fetcher)).code == "url_not_allowed"
        assert server.asked == [(PUBLIC, "/a")]


async def test_a_name_that_changes_its_address_gains_nothing() -> None:
    answers_of_dns = [[PUBLIC], [PRIVATE], [PUBLIC, PRIVATE]]

    async def lookup(name: str, port: int) -> Sequence[str]:
        return answers_of_dns.pop(0)

    async with fetching({"/a": page(b"public")}, lookup) as (fetcher, server):
        assert (await fetcher.get(server.url("/a"))).data == b"public"
        for _ in range(2):
            assert (await refused(server.url("/a"), fetcher)).code == "url_not_allowed"
        assert server.asked == [(PUBLIC, "/a")]
        assert answers_of_dns == []


async def test_only_addresses_that_were_checked_are_connected_to() -> None:
    """The last gate: even where the check before it were passed by another address."""
    seen: list[str] = []

    def allow_once(address: str) -> bool:
        seen.append(address)
        return len(seen) == 1

    async def lookup(name: str, port: int) -> Sequence[str]:
        return [PRIVATE]

    async with web_server({"/a": page(b"secret")}) as server:
        fetcher = Fetcher(LIMITS, allow=allow_once, lookup=lookup)
        await refused(server.url("/a"), fetcher)
        await fetcher.aclose()
        assert (seen, server.asked) == ([PRIVATE, PRIVATE], [])


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0177.0.0.1",
        "127.1",
        "0",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[64:ff9b::7f00:1]",
        "localhost",
        "169.254.169.254",
        "10.0.0.1",
    ],
)
async def test_no_spelling_of_a_private_address_is_let_through(host: str) -> None:
    """With the real check and the real lookup, which knows the old spellings of numbers."""
    fetcher = Fetcher(LIMITS)
    async with web_server({"/a": page(b"secret")}) as server:
        await refused(server.url("/a", host), fetcher)
        await fetcher.aclose()
        assert server.asked == []


async def test_the_systems_lookup_knows_loopback() -> None:
    assert "127.0.0.1" in await system_lookup("127.0.0.1", 80)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("ftp://files.example/a", "http or https"),
        ("file:///etc/passwd", "http or https"),
        ("files.example/a", "http or https"),
        ("http://", "http or https"),
        ("http://[::1", "no address"),
        ("http://files.example:99999/", "no address"),
        ("http://me:secret@files.example/", "credentials"),
        ("http://me@files.example/", "credentials"),
    ],
)
async def test_what_is_no_address_of_the_web_is_refused(url: str, message: str) -> None:
    error = await refused(url, Fetcher(LIMITS))
    assert message in error.message
    assert "secret" not in error.message


async def test_an_unknown_name_is_told() -> None:
    async def lookup(name: str, port: int) -> Sequence[str]:
        raise OSError("no such name")

    async with fetching({}, lookup) as (fetcher, server):
        assert "not known" in (await refused(server.url("/a"), fetcher)).message


@pytest.mark.parametrize(
    ("answer", "message", "code"),
    [
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "status 404", "url_not_accessible"),
        (b"HTTP/1.1 429 Slow\r\nContent-Length: 0\r\n\r\n", "status 429", "too_many_requests"),
        (b"nonsense\r\n\r\n", "no legal HTTP", "url_not_accessible"),
        (b"", "no legal HTTP", "url_not_accessible"),
        (page(b"x" * 100_001), "longer than 100000 bytes (fetch.max_bytes)", "content_too_large"),
        (page(b"short").replace(b": 5", b": 50"), "no legal HTTP", "url_not_accessible"),
        (page(b"x", "text/plain", "Content-Encoding: br"), "encoding", "url_not_accessible"),
        (page(b"x", "text/plain", "Content-Encoding: gzip"), "unpacked", "url_not_accessible"),
        (
            page(gzip.compress(b"abc")[:-4], "text/plain", "Content-Encoding: gzip"),
            "unpacked",
            "url_not_accessible",
        ),
        (
            page(gzip.compress(bytes(50_000_000)), "text/plain", "Content-Encoding: gzip"),
            "longer than 100000 bytes",
            "content_too_large",
        ),
    ],
)
async def test_a_bad_answer_is_told(answer: bytes, message: str, code: str) -> None:
    async with fetching({"/a": answer}) as (fetcher, server):
        error = await refused(server.url("/a"), fetcher)
        assert message in error.message
        assert error.code == code


async def test_packed_bodies_are_unpacked() -> None:
    answer = page(gzip.compress(b"abc" * 30_000), "text/plain", "Content-Encoding: gzip")
    async with fetching({"/a": answer}) as (fetcher, server):
        assert (await fetcher.get(server.url("/a"))).data == b"abc" * 30_000


async def test_a_body_without_an_end_is_left_at_the_limit() -> None:
    async def pour(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"400\r\n" + bytes(0x400) + b"\r\n")
            await writer.drain()

    async with fetching({"/a": pour}) as (fetcher, server):
        assert (await refused(server.url("/a"), fetcher)).code == "content_too_large"


@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"])
async def test_a_server_that_takes_too_long_is_left(head: bytes) -> None:
    async def hold(writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        await asyncio.Event().wait()

    async with fetching({"/a": hold}, limits=Fetch(seconds=0.2)) as (fetcher, server):
        assert "longer than 0.2 s (fetch.seconds)" in (await refused(server.url("/a"), fetcher)).message


async def test_nobody_listens() -> None:
    async with fetching({}) as (fetcher, server):
        url = server.url("/a")
    assert "cannot be reached" in (await refused(url, fetcher)).message
    await fetcher.aclose()
    await fetcher.aclose()
