"""Pauses in the middle of many streams, on real servers that have them (`CONTRACT_ENGINES`)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from dragoman.engines.base import InferenceEngine
from dragoman.engines.control import PauseMode
from dragoman.routing.client import InferenceEngineClient
from tests.contract.conftest import MORE_ENGINES
from tests.contract.test_engines import asked, expected, parts, streamed

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.engine]
_NONE = pytest.mark.skip(
    reason="CONTRACT_ENGINES names no server, and none that the tests start has controls"
)
_SERVERS: list[Any] = MORE_ENGINES or [pytest.param("scripted", marks=_NONE)]
SERVERS = pytest.mark.parametrize("engine", _SERVERS, indirect=True, scope="module")
STREAMS = 50


@SERVERS
@pytest.mark.parametrize("mode", ["keep", "abort"])
async def test_streams_go_on_after_a_pause_and_a_new_version(
    engine: InferenceEngine, mode: PauseMode
) -> None:
    client = InferenceEngineClient([engine])
    await client.look()
    running = [asyncio.create_task(streamed(client, asked("count/nothink"))) for _ in range(STREAMS)]
    while client.engines[engine.name].in_flight < STREAMS:  # noqa: ASYNC110 - the calls are on their way
        await asyncio.sleep(0.002)
    await client.control.pause_generation(mode)
    await client.control.update_named_weights({"weight_version": f"after {mode}"})
    late = asyncio.create_task(streamed(client, asked("count/nothink")))
    await asyncio.sleep(0.3)
    assert not late.done()
    await client.control.resume_generation()
    async with asyncio.timeout(60):
        answers = await asyncio.gather(*running, late)
    assert [parts(answer) for answer in answers] == [expected("count/nothink")] * (STREAMS + 1)
    assert client.weight_version(engine.name) == f"after {mode}"
    assert await client.control.weight_version() == f"after {mode}"


@SERVERS
async def test_the_other_controls_answer(engine: InferenceEngine) -> None:
    control = engine.control
    await control.reset_prefix_cache()
    assert (await streamed(engine, asked("hello"))).usage is not None
