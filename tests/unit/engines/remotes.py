"""What the tests of the remote engine have in common."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from dragoman.engines.base import ChatStream
from dragoman.engines.remote import RemoteInferenceEngine
from dragoman.settings import Dialect, EngineEntry, Limits, Timeouts
from dragoman.wire.openai import ChatChunk, ChatMessage, ChatRequest
from tests.support.fake_openai import FakeOpenAI

QUICK = Timeouts(connect=10.0, first_byte=10.0, between_bytes=10.0, probe=10.0, pool=10.0)


def ask(text: str = "Hello", **changes: Any) -> ChatRequest:
    """A small request."""
    return ChatRequest(model="m", messages=[ChatMessage(role="user", content=text)], **changes)


@asynccontextmanager
async def remote(
    fake: FakeOpenAI,
    dialect: Dialect = "generic",
    timeouts: Timeouts = QUICK,
    limits: Limits | None = None,
    **entry: Any,
) -> AsyncIterator[RemoteInferenceEngine]:
    """An engine that talks to a fake server."""
    engine = RemoteInferenceEngine(EngineEntry(url=fake.url, dialect=dialect, **entry), timeouts, limits)
    try:
        yield engine
    finally:
        await engine.aclose()


async def read(stream: ChatStream) -> list[ChatChunk]:
    """All chunks of a stream."""
    return [chunk async for batch in stream for chunk in batch]


def text_of(chunks: list[ChatChunk]) -> str:
    """The text of some chunks."""
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)


async def until(condition: Callable[[], bool]) -> None:
    """Waits for something that another task does; five seconds are far more than it needs."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in a server without events
            await asyncio.sleep(0.005)
