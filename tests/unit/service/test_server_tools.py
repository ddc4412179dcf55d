"""Which server tools the settings bring."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from dragoman.content.fetch import Fetcher
from dragoman.content.resolver import ContentResolver
from dragoman.errors import SettingsError
from dragoman.server_tools import ServerToolError, ServerTools
from dragoman.server_tools.folder import FolderTools
from dragoman.server_tools.searxng import SearXNG
from dragoman.service.server_tools import configured_tools
from dragoman.settings import Fetch, Settings
from dragoman.settings import ServerTools as Wanted
from tests.support.pdfs import pdf
from tests.unit.content.webserver import PUBLIC, Answers, WebServer, page, web_server


def tools_of(wanted: Wanted) -> ServerTools:
    settings = Settings(server_tools=wanted)
    return configured_tools(settings, ContentResolver(settings))


@asynccontextmanager
async def fetching(answers: Answers) -> AsyncIterator[tuple[ServerTools, WebServer]]:
    """The configured fetch, for which a server of the test counts as public."""

    async def to_public(host: str, port: int) -> Sequence[str]:
        return [PUBLIC]

    settings = Settings(server_tools=Wanted(web_fetch=True))
    fetcher = Fetcher(Fetch(), allow=lambda address: address == PUBLIC, lookup=to_public)
    content = ContentResolver(settings, fetcher=fetcher)
    async with web_server(answers) as server:
        try:
            yield configured_tools(settings, content), server
        finally:
            await content.aclose()


def test_without_settings_there_is_the_search_for_tools_alone() -> None:
    assert tools_of(Wanted()).kinds == {"tool_search"}


def test_a_folder_is_both_search_and_fetch(tmp_path: Path) -> None:
    tools = tools_of(Wanted(folder=str(tmp_path)))
    assert isinstance(tools.web_search, FolderTools)
    assert tools.web_fetch is tools.web_search
    assert tools.kinds == {"tool_search", "web_search", "web_fetch"}


def test_searxng_is_a_search() -> None:
    tools = tools_of(Wanted(searxng="http://127.0.0.1:9"))
    assert isinstance(tools.web_search, SearXNG)
    assert tools.kinds == {"tool_search", "web_search"}


@pytest.mark.parametrize("web_fetch", [False, True])
def test_a_folder_takes_the_place_of_the_web_as_a_whole(tmp_path: Path, web_fetch: bool) -> None:
    wanted = Wanted(
        folder=str(tmp_path), web_fetch=web_fetch, searxng="" if web_fetch else "http://127.0.0.1:9"
    )
    with pytest.raises(SettingsError, match="takes the place of the web"):
        tools_of(wanted)


async def test_pages_and_pdfs_are_fetched_as_text() -> None:
    answers: Answers = {
        "/page": page(b"<title>T</title><p>a caf\xc3\xa9", "text/html; charset=utf-8"),
        "/pdf": page(pdf("Hello from a page"), "application/pdf"),
        "/broken": page(b"no PDF at all", "application/pdf"),
    }
    async with fetching(answers) as (tools, server):
        fetch = tools.web_fetch
        assert fetch is not None
        read = await fetch.fetch(server.url("/page"))
        assert (read.url, read.title, read.text) == (server.url("/page"), "T", "a caf\u00e9")
        assert "Hello from a page" in (await fetch.fetch(server.url("/pdf"))).text
        with pytest.raises(ServerToolError) as broken:
            await fetch.fetch(server.url("/broken"))
        assert broken.value.code == "unsupported_content_type"


async def test_what_may_not_be_fetched_is_an_error_of_the_tool() -> None:
    async with fetching({}) as (tools, _):
        assert tools.web_fetch is not None
        with pytest.raises(ServerToolError) as refused:
            await tools.web_fetch.fetch("http://127.0.0.1/")
        assert refused.value.code == "url_not_allowed"
