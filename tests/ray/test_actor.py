"""An engine in a Ray actor: what it says, how its work ends, what happens when its process dies."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from dragoman.engines.base import EngineUnreachableError
from dragoman.engines.control import ControlNotSupportedError
from dragoman.engines.ray import RayInferenceEngine, end_shared, streams
from dragoman.engines.ray.values import GRANT, MISSED, WINDOW
from dragoman.errors import (
    EngineFaultError,
    EngineLostError,
    InvalidRequestError,
    NotSupportedError,
    PromptTooLongError,
    RateLimitError,
    SettingsError,
)
from dragoman.routing.client import InferenceEngineClient
from dragoman.settings import EngineEntry, RayActor, Settings
from tests.ray.engines import (
    BUG,
    COUNT,
    FLOOD,
    FLOODED,
    HANG,
    LONG,
    MODEL,
    REFUSE,
    UNREACHABLE,
    WORDS,
    Reader,
    request,
)
from tests.support.ray_here import ray_here

pytestmark = [
    pytest.mark.engine,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.xdist_group("ray"),
]
NUMBERS = "".join(f"{number} " for number in range(WORDS))


@pytest.fixture(scope="module", autouse=True)
def _ray() -> Iterator[None]:
    with ray_here():
        yield


def entry_of(name: str = "there", factory: str = "telling", **place: Any) -> EngineEntry:
    where = RayActor(factory=f"tests.ray.engines:{factory}", num_cpus=0.1, **place)
    return EngineEntry(name=name, ray=where)


def made(name: str = "there", factory: str = "telling", **place: Any) -> RayInferenceEngine:
    return RayInferenceEngine(entry_of(name, factory, **place), Settings())


@pytest_asyncio.fixture(loop_scope="module")
async def engine() -> AsyncIterator[RayInferenceEngine]:
    engine = made()
    await engine.start()
    yield engine
    await engine.aclose()


class Told(msgspec.Struct):
    """What an engine in an actor tells of itself."""

    pid: int
    outcomes: list[str]


async def told(engine: RayInferenceEngine) -> Told:
    return msgspec.json.decode(await engine.detokenize(MODEL, []), type=Told)


async def until(condition: Callable[[], Any], seconds: float = 20.0) -> None:
    """Waits until what is asked for again and again is so."""
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110 - the other process has no event for us
            await asyncio.sleep(0.05)


async def outcomes(engine: RayInferenceEngine) -> list[str]:
    return (await told(engine)).outcomes


# ---- errors --------------------------------------------------------------------------------------------


async def test_an_error_arrives_as_it_left(engine: RayInferenceEngine) -> None:
    for attempt in (engine.chat_completion, engine.stream_chat_completion):
        with pytest.raises(RateLimitError, match=r"^slowly$") as refused:
            await attempt(request(REFUSE))
        error = refused.value
        assert (error.retry_after, error.log_detail, error.details) == (7.0, "a detail", {"error_code": "x"})
        with pytest.raises(PromptTooLongError) as long:
            await attempt(request(LONG))
        assert (long.value.tokens, long.value.maximum, long.value.log_detail) == (30, 20, "another")
        with pytest.raises(EngineUnreachableError, match="nobody there"):
            await attempt(request(UNREACHABLE))


async def test_a_bug_of_an_engine_is_a_fault(engine: RayInferenceEngine) -> None:
    for attempt in (engine.chat_completion, engine.stream_chat_completion):
        with pytest.raises(EngineFaultError, match="the engine failed") as raised:
            await attempt(request(BUG))
        assert raised.value.log_detail == "ValueError: a bug"


async def test_what_an_engine_has_not_is_named(engine: RayInferenceEngine) -> None:
    with pytest.raises(NotSupportedError, match="there does not render"):
        await engine.render(request(COUNT))


async def test_an_engine_that_cannot_be_made_says_why() -> None:
    broken = made(factory="refusing")
    with pytest.raises(SettingsError, match="there is not set up"):
        await broken.start()
    assert (await broken.health()).status == "failed"
    await broken.aclose()
    with pytest.raises(EngineUnreachableError):
        await broken.models()


# ---- its work ends --------------------------------------------------------------------------------------


async def test_a_closed_stream_stops_the_engine(engine: RayInferenceEngine) -> None:
    for asked in (HANG, COUNT):
        stream = await engine.stream_chat_completion(request(asked))
        await anext(stream)
        assert await engine.running() == 1
        await stream.aclose()
        await until(lambda: is_idle(engine))
    assert await outcomes(engine) == ["cancelled", "cancelled"]


async def is_idle(engine: RayInferenceEngine) -> bool:
    return await engine.running() == 0


async def test_closing_ends_the_wait_of_whoever_reads(engine: RayInferenceEngine) -> None:
    stream = await engine.stream_chat_completion(request(HANG))
    await anext(stream)
    reader = asyncio.create_task(anext(stream, None))
    await asyncio.sleep(0.1)
    await stream.aclose()
    async with asyncio.timeout(10):
        assert await reader is None


async def test_a_cancelled_call_stops_the_engine(engine: RayInferenceEngine) -> None:
    call = asyncio.create_task(engine.chat_completion(request(HANG)))
    await until(engine.running)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await until(lambda: is_idle(engine))
    assert await outcomes(engine) == ["cancelled"]


async def test_a_reader_that_dies_stops_the_engine() -> None:
    entry = entry_of("read by many", shared=True)
    engine = RayInferenceEngine(entry)
    await engine.start()
    with ray_here() as ray:
        reader = ray.remote(Reader).options(num_cpus=0.1).remote()
        process = await reader.read.remote(entry, [HANG, FLOOD], 0.5)
        # longer than a silence that would end them
        await asyncio.sleep(0.5 * MISSED + 1)
        assert await outcomes(engine) == ["running", "running"]
        os.kill(process, signal.SIGKILL)
        await until(lambda: is_idle(engine))
        assert await outcomes(engine) == ["cancelled", "cancelled"]
        ray.kill(engine._actor)


async def test_a_stream_that_was_let_go_stops_the_engine(
    engine: RayInferenceEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "PULSE", 0.2)
    stream = await engine.stream_chat_completion(request(HANG))
    await anext(stream)
    del stream
    await until(lambda: is_idle(engine))
    assert await outcomes(engine) == ["cancelled"]


async def test_a_reader_that_was_taken_for_dead_knows_that_its_answer_is_lost(
    engine: RayInferenceEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "PULSE", 0.2)
    monkeypatch.setattr(streams.Reading, "tell", lambda self: True)
    stream = await engine.stream_chat_completion(request(HANG))
    await anext(stream)
    with pytest.raises(EngineLostError):
        await anext(stream)
    assert await outcomes(engine) == ["cancelled"]


async def test_a_slow_reader_holds_the_engine_and_nobody_else(engine: RayInferenceEngine) -> None:
    slow = await engine.stream_chat_completion(request(FLOOD))
    read = len(await anext(slow))
    await asyncio.sleep(0.5)
    assert await outcomes(engine) == ["running"]
    other = await engine.stream_chat_completion(request(FLOOD))
    assert sum([len(batch) async for batch in other]) >= FLOODED
    assert await outcomes(engine) == ["running", "finished"]
    assert read + sum([len(batch) async for batch in slow]) >= FLOODED
    assert GRANT < WINDOW < FLOODED


# ---- control --------------------------------------------------------------------------------------------


async def test_controls_go_there(engine: RayInferenceEngine) -> None:
    control = engine.control
    await control.pause_generation("abort")
    await control.wake_up(("weights",))
    await control.update_named_weights({"weight_version": "2"})
    assert await control.weight_version() == "['abort', ('weights',), {'weight_version': '2'}]"
    with pytest.raises(InvalidRequestError, match="not so"):
        await control.pause_generation("wait")
    missing: list[Callable[[], Any]] = [
        control.resume_generation,
        control.sleep,
        control.reset_prefix_cache,
        control.teardown,
        lambda: control.init_weight_update_communicator({}),
        lambda: control.finish_session("s"),
    ]
    for call in missing:
        with pytest.raises(ControlNotSupportedError):
            await call()


# ---- its process dies -----------------------------------------------------------------------------------


async def test_a_killed_process_is_lost_then_loading_then_well(engine: RayInferenceEngine) -> None:
    assert (await engine.capabilities(MODEL)).counting
    stream = await engine.stream_chat_completion(request(HANG))
    await anext(stream)
    before = (await told(engine)).pid
    os.kill(before, signal.SIGKILL)
    with pytest.raises(EngineLostError):
        await anext(stream)
    seen = {(await engine.health()).status}

    async def is_back() -> bool:
        seen.add((await engine.health()).status)
        return "ok" in seen

    await until(is_back)
    assert seen == {"loading", "ok"}
    assert (await told(engine)).pid != before
    assert (await engine.capabilities(MODEL)).counting


async def test_an_actor_that_is_gone_for_good_is_made_anew(engine: RayInferenceEngine) -> None:
    with ray_here() as ray:
        ray.kill(engine._actor, no_restart=True)
    await until(lambda: is_well(engine))
    assert await outcomes(engine) == []


async def is_well(engine: RayInferenceEngine) -> bool:
    return (await engine.health()).status == "ok"


async def test_one_that_must_not_be_begun_anew_stays_away() -> None:
    engine = made(restart=False)
    await engine.start()
    os.kill((await told(engine)).pid, signal.SIGKILL)
    await until(lambda: is_gone(engine))
    with pytest.raises(EngineUnreachableError):
        await engine.chat_completion(request(COUNT))
    assert (await engine.health()).status == "unreachable"
    await engine.aclose()


async def is_gone(engine: RayInferenceEngine) -> bool:
    return (await engine.health()).status == "unreachable"


async def test_an_answer_outlives_its_actor() -> None:
    engines = [made("left"), made("right")]
    client = InferenceEngineClient(engines)
    await client.start()
    stream = await client.stream_chat_completion(request(COUNT, key="a session"))
    said = await anext(stream)
    first = stream.engine
    others = {engine.name: engine for engine in engines}
    os.kill((await told(others[first])).pid, signal.SIGKILL)
    async for batch in stream:
        said += batch
    assert "".join(choice.delta.content or "" for chunk in said for choice in chunk.choices) == NUMBERS
    assert stream.engine != first
    assert f'engine="{first}",how="text"' in client.metrics.render().decode()
    # the session goes on while its engine begins anew, and returns to it
    moved = await client.chat_completion(request(COUNT, key="a session"))
    assert moved.choices[0].message.content == NUMBERS
    await client.aclose()


# ---- shared actors --------------------------------------------------------------------------------------


async def test_a_shared_actor_is_one_for_all_who_name_it() -> None:
    one, other = made("both", shared=True), made("both", shared=True)
    differing = made("both", shared=True, num_gpus=0.0, factory="refusing")
    await one.start()
    await other.start()
    assert (await told(one)).pid == (await told(other)).pid
    with pytest.raises(SettingsError, match="other settings"):
        await differing.start()
    await one.aclose()
    assert (await other.health()).status == "ok"
    with ray_here() as ray:
        ray.kill(other._actor)
    await other.aclose()


async def test_a_shared_actor_whose_engine_cannot_start_keeps_its_name_from_nobody() -> None:
    with pytest.raises(SettingsError, match="is not set up"):
        await made("mended", factory="refusing", shared=True).start()
    mended = made("mended", shared=True)
    await mended.start()

    async def is_well() -> bool:
        return (await mended.health()).status == "ok"

    await until(is_well)
    end_shared("mended", "dragoman")


async def test_a_key_that_the_environment_has_is_known_to_be_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY_OF_THE_ENGINE", "secret words")
    entry = EngineEntry(name="keyed", url="http://127.0.0.1:1", key_env="KEY_OF_THE_ENGINE", ray=RayActor())
    assert RayInferenceEngine(entry).secret == "secret words"
