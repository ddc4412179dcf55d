"""The control plane of many engines, and what calls do while generation is paused."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from dragoman.engines.control import ControlNotSupportedError, EngineControl, Operation, PauseMode
from dragoman.engines.scripted import Delay, Script, ScriptedInferenceEngine, answer, finish_chunk, text_chunk
from dragoman.errors import EngineFaultError, OverloadedError
from dragoman.routing.client import InferenceEngineClient
from dragoman.routing.control import FleetControlError
from dragoman.settings import Routing, Settings
from dragoman.wire.openai import ChatRequest
from tests.unit.routing.clients import ask, engine, started

ALL: frozenset[Operation] = frozenset(
    {
        "pause_generation",
        "resume_generation",
        "sleep",
        "wake_up",
        "reset_prefix_cache",
        "init_weight_update_communicator",
        "update_named_weights",
        "weight_version",
        "finish_session",
        "teardown",
    }
)


class Noted(EngineControl):
    """A control that notes what it is told; `failing` names what it fails."""

    operations = ALL

    def __init__(self, name: str, failing: str = "", version: str = "1") -> None:
        super().__init__(name)
        self.told: list[tuple[Any, ...]] = []
        self._failing = failing
        self._version = version

    def _note(self, *what: Any) -> None:
        if what[0] == self._failing:
            raise EngineFaultError(f"{self.engine} failed", log_detail="why")
        self.told.append(what)

    async def pause_generation(self, mode: PauseMode = "keep") -> None:
        self._note("pause_generation", mode)

    async def resume_generation(self) -> None:
        self._note("resume_generation")

    async def sleep(self, level: int = 1) -> None:
        self._note("sleep", level)

    async def wake_up(self, tags: tuple[str, ...] = ()) -> None:
        self._note("wake_up", tags)

    async def reset_prefix_cache(self) -> None:
        self._note("reset_prefix_cache")

    async def init_weight_update_communicator(self, info: Mapping[str, Any]) -> None:
        self._note("init_weight_update_communicator", info)

    async def update_named_weights(self, update: Mapping[str, Any]) -> None:
        self._note("update_named_weights", update)
        self._version = str(update["weight_version"])

    async def weight_version(self) -> str:
        self._note("weight_version")
        return self._version

    async def finish_session(self, session: str) -> None:
        self._note("finish_session", session)

    async def teardown(self) -> None:
        self._note("teardown")


class Controlled(ScriptedInferenceEngine):
    """A scripted engine with such a control."""

    def __init__(self, name: str, scripts: Any = None, **control: str) -> None:
        super().__init__(scripts or (lambda _request: answer("Hi")), name=name, models=["m"])
        self.noted = Noted(name, **control)

    @property
    def control(self) -> Noted:
        return self.noted


CALLS: dict[str, tuple[Any, ...]] = {
    "pause_generation": ("abort",),
    "resume_generation": (),
    "sleep": (2,),
    "wake_up": (("weights",),),
    "reset_prefix_cache": (),
    "init_weight_update_communicator": ({"port": 1},),
    "update_named_weights": ({"weight_version": "2"},),
    "weight_version": (),
    "finish_session": ("s",),
    "teardown": (),
}


@pytest.mark.parametrize("operation", CALLS)
async def test_it_reaches_all_engines(operation: str) -> None:
    engines = [Controlled("one"), Controlled("two")]
    async with started(engines) as client:
        assert client.control.operations == ALL
        await getattr(client.control, operation)(*CALLS[operation])
    told = [[each for each in member.noted.told if each != ("weight_version",)] for member in engines]
    expected = [] if operation == "weight_version" else [(operation, *CALLS[operation])]
    assert told == [expected] * 2
    assert all(("weight_version",) in member.noted.told for member in engines), "each look asks for it"


@pytest.mark.parametrize("operation", CALLS)
async def test_each_failure_is_told_by_engine(operation: str) -> None:
    engines = [Controlled("one"), Controlled("two", failing=operation), Controlled("three")]
    async with started(engines) as client:
        with pytest.raises(FleetControlError) as caught:
            await getattr(client.control, operation)(*CALLS[operation])
        # nobody waits for a pause that did not come about
        async with asyncio.timeout(5):
            await client.chat_completion(ask())
    error = caught.value
    assert error.message == f"{operation}: failed on two; done on one, three"
    assert error.details == {"engines": {"two": "two failed"}, "done": ["one", "three"]}
    assert (list(error.failures), error.log_detail) == (["two"], "two: why")


async def test_a_pause_that_one_engine_cannot_keep_is_taken_back() -> None:
    engines = [Controlled("one"), engine("bare")]
    async with started(engines) as client:
        with pytest.raises(FleetControlError, match="failed on bare; done on one") as caught:
            await client.control.pause_generation()
    assert isinstance(caught.value.failures["bare"], ControlNotSupportedError)
    assert engines[0].control.told[1:] == [("pause_generation", "keep"), ("resume_generation",)]  # type: ignore[attr-defined]  # it is Noted


@pytest.mark.parametrize("operation", sorted(CALLS.keys() - {"finish_session"}))
async def test_what_no_engine_has_is_not_supported(operation: str) -> None:
    async with started([engine("one"), engine("two")]) as client:
        assert client.control.operations == frozenset()
        with pytest.raises(ControlNotSupportedError, match=operation):
            await getattr(client.control, operation)(*CALLS[operation])
        async with asyncio.timeout(5):
            await client.chat_completion(ask())


async def test_a_session_ends_wherever_engines_keep_one() -> None:
    one = Controlled("one")
    async with started([one, engine("two")]) as client:
        await client.finish_session("s")
    assert one.noted.told[1:] == [("finish_session", "s")]


async def test_versions_are_told_by_engine_where_they_differ() -> None:
    one, two = Controlled("one", version="1"), Controlled("two", version="2")
    async with started([one, two]) as client:
        assert await client.control_plane.weight_versions() == {"one": "1", "two": "2"}
        assert await client.control.weight_version() == "one: 1, two: 2"
        await client.control.update_named_weights({"weight_version": "3"})
        assert await client.control.weight_version() == "3"


# ---- pause ---------------------------------------------------------------------------------------------


async def test_calls_wait_while_generation_is_paused() -> None:
    one = Controlled("one")
    async with started([one]) as client:
        await client.control.pause_generation("wait")
        calls = [asyncio.create_task(client.chat_completion(ask())) for _ in range(3)]
        await asyncio.sleep(0.02)
        assert not one.calls
        assert not any(call.done() for call in calls)
        await client.control.resume_generation()
        async with asyncio.timeout(5):
            await asyncio.gather(*calls)
    assert len(one.calls) == 3


@pytest.mark.parametrize("gone", [["two"], ["one", "two"]])
async def test_an_engine_that_cannot_resume_holds_no_call_of_the_others(gone: list[str]) -> None:
    engines = [
        Controlled(name, failing="resume_generation" if name in gone else "") for name in ("one", "two")
    ]
    settings = Settings(routing=Routing(pause_seconds=0.2))
    async with started(engines, settings) as client:
        await client.control.pause_generation()
        with pytest.raises(FleetControlError, match="failed on"):
            await client.control.resume_generation()
        answers = await asyncio.gather(client.chat_completion(ask()), return_exceptions=True)
    assert isinstance(answers[0], OverloadedError) is (len(gone) == 2)


async def test_no_pause_is_waited_for_for_ever() -> None:
    async with started([Controlled("one")], Settings(routing=Routing(pause_seconds=0.02))) as client:
        await client.control.pause_generation()
        with pytest.raises(OverloadedError, match="paused") as caught:
            await client.chat_completion(ask())
        assert caught.value.retry_after is not None


async def test_what_a_pause_aborted_goes_on_when_it_ends() -> None:
    aborted = asyncio.Event()

    class Aborting(Noted):
        async def pause_generation(self, mode: PauseMode = "keep") -> None:
            aborted.set()

    def script(request: ChatRequest) -> Script:
        if request.continue_final:
            return Script(steps=[text_chunk(" 3"), text_chunk(" 4"), finish_chunk("stop")])
        return Script(steps=[text_chunk("1"), text_chunk(" 2"), Delay(0.02), finish_chunk("abort")])

    one = Controlled("one", script)
    one.noted = Aborting("one")
    async with started([one]) as client:
        reading = asyncio.create_task(_text(client))
        while not one.calls:  # noqa: ASYNC110 - the call is on its way to it
            await asyncio.sleep(0)
        await client.control.pause_generation("abort")
        assert aborted.is_set()
        await asyncio.sleep(0.05)
        assert not reading.done()
        assert len(one.calls) == 1, "it waits for the end of the pause"
        await client.control.resume_generation()
        async with asyncio.timeout(5):
            assert await reading == "1 2 3 4"


async def _text(client: InferenceEngineClient) -> str:
    stream = await client.stream_chat_completion(ask())
    chunks = [chunk async for batch in stream for chunk in batch]
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
