"""How engines are, as the client of many sees and tells it."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from dragoman.engines.base import EngineHealth, EngineUnreachableError
from dragoman.engines.remote import RemoteInferenceEngine
from dragoman.engines.scripted import (
    SCRIPTED_CAPABILITIES,
    ScriptedInferenceEngine,
    refuse,
)
from dragoman.errors import (
    DragomanError,
    EngineConfigurationError,
    EngineFaultError,
    EngineTimeoutError,
    OverloadedError,
)
from dragoman.observe.logs import LOGGER, log_error
from dragoman.routing import fleet as fleet_module
from dragoman.routing.client import InferenceEngineClient
from dragoman.settings import EngineEntry
from dragoman.wire.capabilities import EngineCapabilities
from dragoman.wire.openai import ModelCard
from tests.support.fake_openai import Answer as FakeAnswer
from tests.support.fake_openai import FakeOpenAI, Route, reply
from tests.unit.routing.clients import ask, engine, started


async def test_it_is_well_while_one_engine_is() -> None:
    one, two = engine("one"), engine("two", status="loading")
    async with started([one, two]) as client:
        assert (await client.health()).status == "ok"
        one.status = "unreachable"
        await client.look()
        health = await client.health()
        assert health.status == "unreachable"
        assert "one: unreachable; two: loading" in health.detail
    assert (await InferenceEngineClient([]).health()).status == "failed"


class Silent(ScriptedInferenceEngine):
    """An engine that says only once how it is."""

    hangs = asyncio.Event()
    asked = 0

    async def health(self) -> EngineHealth:
        self.asked += 1
        if self.asked > 1:
            self.hangs.set()
            await asyncio.Event().wait()
        return EngineHealth("loading", "it loads")


async def test_who_asks_for_health_waits_for_no_engine_and_makes_no_work() -> None:
    silent, well = Silent([], name="silent"), engine("well")
    async with started([silent, well]) as client, asyncio.timeout(5):
        looking = asyncio.create_task(client.look())
        await silent.hangs.wait()
        assert {(await client.health()).status for _ in range(50)} == {"ok"}
        assert silent.asked == 2
        looking.cancel()


async def test_before_the_start_health_is_asked_for() -> None:
    assert (await InferenceEngineClient([engine("one")]).health()).status == "ok"


def _told(caplog: pytest.LogCaptureFixture) -> list[tuple[str, dict[str, str]]]:
    """The lines about engines' health."""
    lines = [(record.levelname, record.__dict__["fields"]) for record in caplog.records]
    return [(level, fields) for level, fields in lines if "status" in fields]


async def test_each_change_of_an_engines_health_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", LOGGER.name)
    gone = EngineUnreachableError("gone", log_detail="no connection")
    one = engine("one", scripts=[refuse(gone), refuse(gone)])
    async with started([one]) as client:
        for status in ("loading", "loading", "ok", "ok"):
            one.status = status
            await client.look()
        for _ in range(2):
            with pytest.raises(EngineUnreachableError):
                await client.chat_completion(ask())
    assert _told(caplog) == [
        ("DEBUG", {"engine": "one", "status": "ok"}),
        ("INFO", {"engine": "one", "status": "loading"}),
        ("INFO", {"engine": "one", "status": "ok"}),
        ("WARNING", {"engine": "one", "status": "unreachable", "detail": "no connection"}),
    ]


HTML = FakeAnswer(content_type="text/html", pieces=[b"<html>Sign in</html>"])


@pytest.mark.parametrize(
    ("listed", "told"),
    [
        (reply({"error": "wrong key"}, 401), "misconfigured: the engine refuses our key: status 401"),
        (reply({"detail": "no"}, 404), "misconfigured: engine status 404"),
        (reply({"data": []}), "loading: it serves no model yet"),
        (HTML, "failed: /v1/models answers with something that is no list of models; is the address right?"),
        (reply({}, 503), "loading: engine status 503"),
    ],
)
async def test_what_keeps_an_engine_from_being_used_is_told(listed: FakeAnswer, told: str) -> None:
    routes: dict[str, Route | FakeAnswer] = {"/v1/models": listed}
    async with FakeOpenAI(routes) as fake:
        entry = EngineEntry(url=fake.url, name="gpu", dialect="vllm")
        fake.routes["/health"] = reply({})
        async with started([RemoteInferenceEngine(entry)]) as client:
            assert client.troubles() == [f"gpu is {told}"]


async def test_a_key_that_an_engine_repeats_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", LOGGER.name)
    fault = EngineFaultError("no", log_detail="Bearer very-secret", log_content="Bearer very-secret")
    remote = RemoteInferenceEngine(EngineEntry(url="http://127.0.0.1:1", key="very-secret"))
    InferenceEngineClient([remote])
    log_error("req_1", fault)
    assert [record.__dict__["fields"] for record in caplog.records] == [
        {"id": "req_1", "detail": "Bearer [key]"},
        {"id": "req_1", "content": "Bearer [key]"},
    ]


@pytest.mark.parametrize("models", [(), ("m",)])
@pytest.mark.parametrize("status", [401, 403])
async def test_a_key_that_the_engine_refuses_is_our_configuration(
    status: int, models: tuple[str, ...]
) -> None:
    refused = reply({"error": {"message": "wrong key"}}, status)
    async with FakeOpenAI({"/v1/models": refused}) as fake:
        remote = RemoteInferenceEngine(EngineEntry(url=fake.url, key="wrong", models=models))
        async with started([remote]) as client:
            assert (await client.health()).status == "misconfigured"
            with pytest.raises(EngineConfigurationError) as raised:
                await client.chat_completion(ask(client.resolve("claude-x")))
            assert str(status) in raised.value.log_detail
            assert raised.value.should_retry is False


async def test_beside_an_engine_that_may_come_a_refused_key_is_a_matter_of_time() -> None:
    engines = [engine("one", status="misconfigured"), engine("two", status="loading")]
    async with started(engines) as client:
        with pytest.raises(OverloadedError):
            client.resolve("claude-x")


class Undescribed(ScriptedInferenceEngine):
    """An engine that is well as far as it says, and cannot say what it can do."""

    failure: DragomanError

    async def capabilities(self, model: str) -> EngineCapabilities:
        raise self.failure


def _undescribed(name: str, failure: DragomanError) -> Undescribed:
    made = Undescribed([], name=name, models=["m"])
    made.failure = failure
    return made


@pytest.mark.parametrize(
    ("failure", "status"),
    [
        (EngineUnreachableError("gone", log_detail="x"), "unreachable"),
        (EngineTimeoutError("it hangs", log_detail="x"), "failed"),
    ],
)
async def test_an_engine_that_cannot_describe_itself_leaves_the_others_to_answer(
    failure: DragomanError, status: str
) -> None:
    able = msgspec.structs.replace(SCRIPTED_CAPABILITIES, context_length=7)
    engines = [_undescribed("one", failure), engine("two", capabilities=able)]
    async with started(engines) as client:
        assert await client.capabilities("m") == able
        assert client.troubles() == [f"one is {status}: x"]
        assert {(await client.chat_completion(ask(key=str(n)))).engine for n in range(9)} == {"two"}


async def test_where_no_engine_can_describe_itself_the_first_ones_error_is_told() -> None:
    engines = [_undescribed("one", EngineFaultError("a")), _undescribed("two", EngineTimeoutError("b"))]
    async with started(engines) as client:
        with pytest.raises(EngineFaultError, match="a"):
            await client.capabilities("m")


class Unlisting(ScriptedInferenceEngine):
    """An engine that cannot say what it serves."""

    async def models(self) -> list[ModelCard]:
        raise EngineFaultError("no list", log_detail="broken")


async def test_an_engine_that_does_not_list_its_models_is_not_well() -> None:
    async with started([Unlisting([], name="one")]) as client:
        assert await client.health() == EngineHealth("failed", "one: failed broken")


class Breaking(ScriptedInferenceEngine):
    """An engine whose own code fails the second time that it is looked at."""

    looks = 0

    async def health(self) -> EngineHealth:
        self.looks += 1
        if self.looks == 2:
            raise ValueError("a bug")
        return await super().health()


async def test_an_engines_bug_does_not_end_the_looking(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(fleet_module, "CALM_INTERVAL", 0.01)
    breaking = Breaking([], name="one")
    async with started([breaking]), asyncio.timeout(5):
        while breaking.looks < 4:  # noqa: ASYNC110 - it is the client that looks, now and then
            await asyncio.sleep(0.01)
    assert "an engine cannot be looked at" in caplog.messages


async def test_an_engine_without_models_is_not_ready() -> None:
    class Empty(ScriptedInferenceEngine):
        async def models(self) -> list[ModelCard]:
            return []

    async with started([Empty([], name="one")]) as client:
        assert await client.health() == EngineHealth("loading", "one: loading it serves no model yet")


async def test_an_engine_that_comes_back_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet_module, "ANXIOUS_INTERVAL", 0.01)
    late = engine("late", status="unreachable")
    async with started([late]) as client:
        with pytest.raises(OverloadedError):
            client.resolve("m")
        late.status = "ok"
        async with asyncio.timeout(5):
            while not await client.models():  # noqa: ASYNC110 - it is the client that looks, now and then
                await asyncio.sleep(0.01)
        assert client.resolve("m") == "m"


async def test_an_engine_that_a_request_finds_dead_is_soon_looked_at_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fleet_module, "CALM_INTERVAL", 3600)
    monkeypatch.setattr(fleet_module, "ANXIOUS_INTERVAL", 0.01)
    one = engine("one", scripts=[refuse(EngineUnreachableError("gone", log_detail="x"))])
    async with started([one]) as client:
        # the wait of calm times has begun
        await asyncio.sleep(0.05)
        with pytest.raises(EngineUnreachableError):
            await client.chat_completion(ask())
        assert (await client.health()).status == "unreachable"
        async with asyncio.timeout(5):
            while (await client.health()).status != "ok":  # noqa: ASYNC110 - it is the client that looks
                await asyncio.sleep(0.01)


async def test_a_client_may_start_again_on_another_loop() -> None:
    client = InferenceEngineClient([engine("one")])

    async def once() -> str:
        await client.start()
        await asyncio.sleep(0.01)
        status = (await client.health()).status
        await client.aclose()
        return status

    assert await once() == "ok"
    assert await asyncio.to_thread(asyncio.run, once()) == "ok"


class Slow(ScriptedInferenceEngine):
    """An engine whose first start fails, when it is let."""

    starts = 0

    def __init__(self) -> None:
        super().__init__([], name="slow")
        self.may_fail = asyncio.Event()
        self.has_failed = asyncio.Event()

    async def start(self) -> None:
        self.starts += 1
        if self.starts == 1:
            await self.may_fail.wait()
            self.has_failed.set()
            raise EngineFaultError("it cannot start")


async def test_a_start_that_failed_when_nobody_waited_is_tried_again() -> None:
    slow = Slow()
    client = InferenceEngineClient([slow])
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await client.start()
    slow.may_fail.set()
    await slow.has_failed.wait()
    # the failure reaches the task of the start
    for _ in range(5):
        await asyncio.sleep(0)
    await client.start()
    assert (slow.starts, client.is_started) == (2, True)
    await client.aclose()


async def test_starting_and_closing_twice_is_quiet() -> None:
    client = InferenceEngineClient([engine("one")])
    await client.aclose()
    await client.start()
    await client.start()
    await client.aclose()
    await client.aclose()
