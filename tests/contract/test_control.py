"""Pauses in the middle of many streams, on real servers that have them (`CONTRACT_ENGINES`)."""

from __future__ import annotations

import asyncio
from itertools import groupby
from operator import itemgetter
from typing import Any

import pytest

from dragoman.engines.base import InferenceEngine
from dragoman.engines.control import PauseMode
from dragoman.engines.whole import fold
from dragoman.routing.client import InferenceEngineClient
from dragoman.wire.openai import ChatChunk, ChatCompletion, ChatMessage, ChatRequest
from tests.contract.conftest import MORE_ENGINES
from tests.contract.test_engines import asked, parts, streamed
from tests.support.dialogues import ENDLESS, MODEL

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.engine]
_NONE = pytest.mark.skip(
    reason="CONTRACT_ENGINES names no server, and none that the tests start has controls"
)
_SERVERS: list[Any] = MORE_ENGINES or [pytest.param("scripted", marks=_NONE)]
SERVERS = pytest.mark.parametrize("engine", _SERVERS, indirect=True, scope="module")
STREAMS = 50
# So long that most answers, on a quiet machine all, are in the middle when the pause comes.
SONG = asked("hello", messages=[ChatMessage(role="user", content=ENDLESS)], max_tokens=1000)


class Reader:
    """Reads one answer, and notes with which weights how many of its tokens were sampled, in order."""

    def __init__(self, client: InferenceEngineClient, request: ChatRequest) -> None:
        self.chunks: list[ChatChunk] = []
        self._sampled: list[tuple[str, int]] = []
        self._client = client
        self._request = request

    async def read(self) -> None:
        stream = await self._client.stream_chat_completion(self._request)
        try:
            async for batch in stream:
                self.chunks += batch
                ids = sum(len(choice.token_ids or ()) for chunk in batch for choice in chunk.choices)
                self._sampled.append((stream.weight_version, ids))
        finally:
            await stream.aclose()

    @property
    def answer(self) -> ChatCompletion:
        return fold(self.chunks)

    @property
    def runs(self) -> list[tuple[str, int]]:
        told = groupby((run for run in self._sampled if run[1]), key=itemgetter(0))
        return [(version, sum(ids for _, ids in run)) for version, run in told]


@SERVERS
@pytest.mark.parametrize("mode", ["keep", "abort"])
async def test_streams_go_on_after_a_pause_and_a_new_version(
    engine: InferenceEngine, mode: PauseMode
) -> None:
    client = InferenceEngineClient([engine])
    await client.look()
    told = (await engine.capabilities(MODEL)).token_ids
    request = SONG if told else asked("count/nothink")
    whole = parts(await streamed(client, request))
    await client.control.update_named_weights({"weight_version": "old"})
    readers = [Reader(client, request) for _ in range(STREAMS)]
    running = [asyncio.create_task(reader.read()) for reader in readers]
    await until_all_have_begun(readers, running)
    await client.control.pause_generation(mode)
    # what was sampled before the pause has been read by then
    await asyncio.sleep(0.3)
    over = [reader for reader, task in zip(readers, running, strict=True) if task.done()]
    assert len(over) < STREAMS / 2 or not told
    await client.control.update_named_weights({"weight_version": f"after {mode}"})
    readers.append(Reader(client, request))
    late = asyncio.create_task(readers[-1].read())
    await asyncio.sleep(0.3)
    assert not late.done()
    await client.control.resume_generation()
    async with asyncio.timeout(120):
        await asyncio.gather(*running, late)
    assert [parts(reader.answer) for reader in readers] == [whole] * (STREAMS + 1)
    assert client.weight_version(engine.name) == f"after {mode}"
    assert await client.control.weight_version() == f"after {mode}"
    check_versions(readers, over, new=f"after {mode}", told=told)


async def until_all_have_begun(readers: list[Reader], running: list[asyncio.Task[None]]) -> None:
    """Waits for the beginning of every answer; one that fails before it is raised, not waited for."""
    async with asyncio.timeout(120):
        while not all(reader.chunks for reader in readers):
            for task in running:
                if task.done():
                    task.result()
            await asyncio.sleep(0.002)


def check_versions(readers: list[Reader], over: list[Reader], *, new: str, told: bool) -> None:
    """Each token has its weights, the older ones first.

    The answers that were over before have the old ones only, the last answer the new ones.
    """
    usages = [reader.answer.usage for reader in readers]
    counts = [usage.completion_tokens if usage and told else 0 for usage in usages]
    assert [sum(ids for _, ids in reader.runs) for reader in readers] == counts
    orders = [[version for version, _ in reader.runs] for reader in readers]
    wanted = [["old"] if reader in over else ["old", new] for reader in readers[:STREAMS]] + [[new]]
    assert orders == (wanted if told else [[]] * len(readers))


@SERVERS
async def test_the_other_controls_answer(engine: InferenceEngine) -> None:
    control = engine.control
    await control.reset_prefix_cache()
    assert (await streamed(engine, asked("hello"))).usage is not None
