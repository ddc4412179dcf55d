"""What the tests of the client of many engines have in common."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from dragoman.engines.base import InferenceEngine
from dragoman.engines.scripted import (
    ScriptedInferenceEngine,
    answer,
)
from dragoman.routing.client import InferenceEngineClient
from dragoman.settings import Settings
from dragoman.wire.openai import ChatMessage, ChatRequest


def engine(name: str, *models: str, **given: Any) -> ScriptedInferenceEngine:
    given.setdefault("scripts", lambda _request: answer("Hi"))
    return ScriptedInferenceEngine(name=name, models=models or ("m",), **given)


def ask(model: str = "m", key: str | None = None) -> ChatRequest:
    return ChatRequest(model=model, messages=[ChatMessage(role="user", content="x")], placement_key=key)


@asynccontextmanager
async def started(
    engines: Sequence[InferenceEngine], settings: Settings | None = None
) -> AsyncIterator[InferenceEngineClient]:
    client = InferenceEngineClient(engines, settings)
    await client.start()
    try:
        yield client
    finally:
        await client.aclose()
