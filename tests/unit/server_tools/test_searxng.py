"""A SearXNG server as the search engine."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from dragoman.server_tools import Hit, SearchScope, ServerToolError
from dragoman.server_tools.searxng import SearXNG

ANSWER = {
    "query": "q",
    "results": [
        {"url": "https://a.example/", "title": "A", "content": "It is.", "publishedDate": "2026-01-01"},
        {"url": "https://b.example/", "title": "", "content": None, "engine": "x"},
    ],
}


@asynccontextmanager
async def searxng(answer: Callable[[web.Request], web.Response]) -> AsyncIterator[str]:
    """The address of a server that answers searches so."""

    async def handle(request: web.Request) -> web.Response:
        return answer(request)

    app = web.Application()
    app.router.add_get("/base/search", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    yield f"http://{host}:{port}/base/"
    await runner.cleanup()


async def test_its_results_are_hits() -> None:
    asked: list[dict[str, str]] = []

    def answer(request: web.Request) -> web.Response:
        asked.append(dict(request.query))
        return web.json_response(ANSWER)

    async with searxng(answer) as url:
        search = SearXNG(url, seconds=5)
        hits = await search.search("what & why", SearchScope())
        await search.search("x", SearchScope(allowed_domains=("a.example",)))
        await search.search("x", SearchScope(allowed_domains=("a.example", "b.example")))
    assert hits == [
        Hit(title="A", url="https://a.example/", text="It is.", age="2026-01-01"),
        Hit(title="https://b.example/", url="https://b.example/"),
    ]
    assert asked[0] == {"q": "what & why", "format": "json"}
    assert [one["q"] for one in asked[1:]] == ["x site:a.example", "x"]


@pytest.mark.parametrize(
    ("answer", "code", "detail"),
    [
        (web.Response(status=429), "too_many_requests", "busy"),
        (web.Response(status=403), "unavailable", "json"),
        (web.Response(status=302, headers={"location": "http://127.0.0.1:9/"}), "unavailable", "302"),
        (web.Response(status=500), "unavailable", "500"),
        (web.Response(text="<html>"), "unavailable", "no answer"),
        (web.json_response({"results": 3}), "unavailable", "no answer"),
        (web.Response(body=b" " * (4 * 1024 * 1024 + 1)), "unavailable", "too much"),
    ],
)
async def test_what_is_no_answer_is_an_error(answer: web.Response, code: str, detail: str) -> None:
    async with searxng(lambda _: answer) as url:
        with pytest.raises(ServerToolError) as failed:
            await SearXNG(url, seconds=5).search("q", SearchScope())
    assert failed.value.code == code
    assert detail in failed.value.detail


async def test_results_that_lead_nowhere_are_left_out() -> None:
    odd = [{"title": "no address"}, {"url": None}, "x", {"url": "https://c.example/", "title": None}]
    results = {"results": [*odd, {"url": "https://d.example/", "title": "D", "publishedDate": 3}] * 9}
    async with searxng(lambda _: web.json_response(results)) as url:
        hits = await SearXNG(url, seconds=5).search("x", SearchScope())
    assert hits == [Hit(title="https://c.example/", url="https://c.example/")] * 9


async def test_a_server_that_is_not_there_is_an_error() -> None:
    async with searxng(lambda _: web.Response()) as url:
        gone = url
    with pytest.raises(ServerToolError) as failed:
        await SearXNG(gone, seconds=5).search("q", SearchScope())
    assert failed.value.code == "unavailable"
