"""Server tools for tests: a search and a fetch out of what a test says, and requests that declare them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from dragoman.engines.scripted import ScriptedInferenceEngine, Scripts
from dragoman.routing.client import InferenceEngineClient
from dragoman.server_tools import Hit, Page, SearchScope, ServerToolError, ServerTools
from dragoman.service import MessagesService
from dragoman.settings import Settings
from dragoman.translate.signature import Signer
from dragoman.wire.anthropic.codec import decode_messages
from dragoman.wire.anthropic.request import MessagesRequest

WEB_SEARCH: dict[str, Any] = {"type": "web_search_20250305", "name": "web_search"}
WEB_FETCH: dict[str, Any] = {"type": "web_fetch_20250910", "name": "web_fetch"}
BY_REGEX: dict[str, Any] = {"type": "tool_search_tool_regex_20251119", "name": "tool_search_tool_regex"}
BY_WORDS: dict[str, Any] = {"type": "tool_search_tool_bm25_20251119", "name": "tool_search_tool_bm25"}
SIGNER = Signer([bytes(32)])


class ToldSearch:
    """A search that gives the hits of a query; it remembers what it was asked. A failure is raised."""

    def __init__(self, hits: Mapping[str, list[Hit] | Exception] | None = None) -> None:
        self.hits = hits
        self.asked: list[tuple[str, SearchScope]] = []

    async def search(self, query: str, scope: SearchScope) -> list[Hit]:
        self.asked.append((query, scope))
        if self.hits is None:
            return [Hit(title=f"On {query}", url=f"https://a.example/{query}", text=f"{query}: yes.")]
        found = self.hits[query]
        if isinstance(found, Exception):
            raise found
        return found


class ToldFetch:
    """Pages by their address."""

    def __init__(self, pages: Mapping[str, Page]) -> None:
        self.pages = pages

    async def fetch(self, url: str) -> Page:
        if url not in self.pages:
            raise ServerToolError("url_not_accessible")
        return self.pages[url]


class WaitingSearch:
    """A search that waits until it is let go; `ended` says how a call of it ended."""

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.go = asyncio.Event()
        self.ended = "not"

    async def search(self, query: str, scope: SearchScope) -> list[Hit]:
        self.began.set()
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.ended = "cancelled"
            raise
        self.ended = "done"
        return []


def request(**fields: Any) -> MessagesRequest:
    """A request that declares web_search, with these fields."""
    values = {
        "model": "claude-x",
        "max_tokens": 1000,
        "messages": [{"role": "user", "content": "Is it so?"}],
        "tools": [WEB_SEARCH],
    }
    return decode_messages(msgspec.json.encode(values | fields))


@asynccontextmanager
async def service_with(
    scripts: Scripts, tools: ServerTools, settings: Settings | None = None
) -> AsyncIterator[tuple[MessagesService, ScriptedInferenceEngine]]:
    """A service with these tools over a scripted engine."""
    settings = settings or Settings()
    engine = ScriptedInferenceEngine(scripts)
    client = InferenceEngineClient([engine], settings)
    await client.start()
    numbers = iter(range(1, 1000))
    yield (
        MessagesService(
            client, SIGNER, settings, ids=lambda prefix: f"{prefix}_{next(numbers)}", server_tools=tools
        ),
        engine,
    )
    await client.aclose()
