"""The weights that each token of an answer was sampled with."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from dragoman.engines.base import ChatStream
from dragoman.engines.scripted import Delay, Script, Step, answer, finish_chunk, text_chunk
from dragoman.routing.client import InferenceEngineClient
from dragoman.wire.openai import ChatChunk
from tests.unit.routing.clients import ask, started
from tests.unit.routing.test_control import Controlled

Batches = list[tuple[str, str]]


def halves(seconds: float) -> Callable[[Any], Script]:
    """A script whose second half comes after so many seconds."""
    steps: list[Step] = [text_chunk("a "), Delay(seconds), text_chunk("b "), finish_chunk("stop")]
    return lambda _request: Script(steps=steps)


def text_of(batch: list[ChatChunk]) -> str:
    return "".join(choice.delta.content or "" for chunk in batch for choice in chunk.choices)


async def versions(stream: ChatStream, meanwhile: Callable[[], Any]) -> Batches:
    """Each batch's text with its weights; `meanwhile` is called behind the first."""
    seen: Batches = []
    async for batch in stream:
        seen.append((text_of(batch), stream.weight_version))
        if len(seen) == 1:
            await meanwhile()
    return seen


def update(client: InferenceEngineClient, version: str) -> Any:
    return client.control.update_named_weights({"weight_version": version})


async def test_each_batch_carries_the_weights_it_was_sampled_with() -> None:
    async with started([Controlled("one", halves(0.2))]) as client:
        stream = await client.stream_chat_completion(ask())
        updates: list[asyncio.Task[None]] = []

        async def while_it_reads() -> None:
            updates.append(asyncio.create_task(update(client, "2")))

        seen = await versions(stream, while_it_reads)
        assert seen[:3] == [("a ", "1"), ("b ", "2"), ("", "2")]
        await asyncio.gather(*updates)


async def test_a_batch_that_nobody_waited_for_may_hold_both() -> None:
    async with started([Controlled("one", halves(0))]) as client:
        stream = await client.stream_chat_completion(ask())
        seen = await versions(stream, lambda: update(client, "2"))
        assert seen[:3] == [("a ", "1"), ("b ", ""), ("", "2")]


async def test_while_weights_arrive_they_are_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Controlled("one", lambda _request: answer("Hi"))
    async with started([engine]) as client:
        arrived = asyncio.Event()

        async def slow(_update: Any) -> None:
            await arrived.wait()

        monkeypatch.setattr(engine.noted, "update_named_weights", slow)
        updating = asyncio.create_task(update(client, "2"))
        await asyncio.sleep(0)
        assert client.weight_version("one") == ""
        arrived.set()
        await updating
        assert client.weight_version("one") == "1", "it kept its old weights and says so"
