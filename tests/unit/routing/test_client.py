"""Many engines as one: names, placement, health, what is in flight."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from dragoman.engines.base import EngineHealth, EngineUnreachableError, InferenceEngine
from dragoman.engines.remote import RemoteInferenceEngine
from dragoman.engines.scripted import (
    SCRIPTED_CAPABILITIES,
    Hang,
    Script,
    ScriptedInferenceEngine,
    answer,
    refuse,
    text_chunk,
)
from dragoman.errors import (
    EngineConfigurationError,
    EngineFaultError,
    NotFoundError,
    OverloadedError,
    SettingsError,
)
from dragoman.observe.logs import LOGGER, log_error
from dragoman.routing import client as client_module
from dragoman.routing.client import InferenceEngineClient, build_client
from dragoman.settings import EngineEntry, Settings
from dragoman.wire.openai import ChatMessage, ChatRequest, ModelCard
from tests.support.fake_openai import Answer as FakeAnswer
from tests.support.fake_openai import FakeOpenAI, Route, reply


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


# ---- names ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("aliases", "requested", "served"),
    [
        ({"claude-*": ""}, "b", "b"),
        ({"claude-*": ""}, "claude-sonnet-5", "a"),
        ({"claude-*": "b"}, "claude-sonnet-5", "b"),
        ({"claude-*-haiku": "b", "claude-*": ""}, "claude-9-haiku", "b"),
        ({"b": "a"}, "b", "b"),
        ({"gpt-?": "b"}, "gpt-4", "b"),
        ({"*": ""}, "org/Qwen[3]", "a"),
        ({"org/Qwen[3]": "b"}, "org/Qwen[3]", "b"),
    ],
)
async def test_names_are_exact_first_and_aliases_then(
    aliases: dict[str, str], requested: str, served: str
) -> None:
    async with started([engine("one", "a"), engine("two", "b")], Settings(aliases=aliases)) as client:
        assert client.resolve(requested) == served


@pytest.mark.parametrize(
    ("aliases", "requested"), [({}, "claude-x"), ({"gpt-?": ""}, "gpt-4o"), ({"x": "gone"}, "x")]
)
async def test_another_name_is_not_found_and_the_list_is_told(
    aliases: dict[str, str], requested: str
) -> None:
    async with started([engine("one", "a", "b")], Settings(aliases=aliases)) as client:
        with pytest.raises(NotFoundError, match=r"a, b"):
            client.resolve(requested)


async def test_the_default_model_comes_first() -> None:
    async with started([engine("one", "a", "b")], Settings(default_model="b")) as client:
        assert [card.id for card in await client.models()] == ["b", "a"]
        assert client.resolve("claude-opus-5") == "b"


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (Settings(default_model="gone"), "claude-opus-5 is an alias of the default model gone, which is"),
        (Settings(aliases={"claude-*": "gone"}), "claude-opus-5 is an alias of gone, which is"),
    ],
)
async def test_another_model_never_takes_the_place_of_the_one_that_is_meant(
    settings: Settings, told: str
) -> None:
    one, two = engine("one", "a", "b"), engine("two", "c", status="unreachable")
    async with started([one, two], settings) as client:
        # it may be a model of the engine that is away
        with pytest.raises(OverloadedError, match="no engine that serves this model is ready"):
            client.resolve("claude-opus-5")
        assert client.resolve("a") == "a"
        two.status = "ok"
        await client.look()
        with pytest.raises(NotFoundError) as raised:
            client.resolve("claude-opus-5")
        assert raised.value.message == f"model: {told} not served here; there is a, b, c"


async def test_a_model_that_the_settings_name_is_known_before_its_engine_answers() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        entry = EngineEntry(url=f"http://127.0.0.1:{closed.getsockname()[1]}", models=("x", "y"))
        async with started([RemoteInferenceEngine(entry), engine("one", "a")]) as client:
            assert [card.id for card in await client.models()] == ["x", "y", "a"]
            assert client.resolve("claude-opus-5") == "x"
            with pytest.raises(EngineUnreachableError):
                await client.chat_completion(ask("x"))
            assert (await client.chat_completion(ask("a"))).engine == "one"


async def test_models_of_several_engines_are_listed_once() -> None:
    async with started([engine("one", "a", "b"), engine("two", "b", "c")]) as client:
        assert [card.id for card in await client.models()] == ["a", "b", "c"]


async def test_before_any_engine_spoke_nothing_is_not_found() -> None:
    client = InferenceEngineClient([engine("one")])
    with pytest.raises(OverloadedError):
        client.resolve("m")
    with pytest.raises(OverloadedError):
        await client.capabilities("m")


def test_engines_of_one_name_are_refused() -> None:
    with pytest.raises(SettingsError, match="one"):
        InferenceEngineClient([engine("one"), engine("one")])


# ---- placement -----------------------------------------------------------------------------------------


async def test_a_session_stays_with_its_engine() -> None:
    engines = [engine(name) for name in ("one", "two", "three")]
    async with started(engines) as client:
        for n in range(30):
            key = f"session-{n}"
            seen = {(await client.chat_completion(ask(key=key))).engine for _ in range(3)}
            stream = await client.stream_chat_completion(ask(key=key))
            await stream.aclose()
            await client.count_tokens(ask(key=key))
            assert seen == {stream.engine}
    assert all(member.calls for member in engines)
    assert all(len(member.counted) * 4 == len(member.calls) for member in engines)


async def test_a_call_goes_only_where_its_model_is() -> None:
    one, two = engine("one", "a"), engine("two", "b")
    async with started([one, two]) as client:
        for n in range(9):
            assert (await client.chat_completion(ask("b", key=str(n)))).engine == "two"
    assert not one.calls


async def test_without_a_session_the_least_loaded() -> None:
    hanging = Script(steps=[text_chunk("a"), Hang()])
    engines = [engine(name, scripts=lambda _request: hanging) for name in ("one", "two")]
    async with started(engines) as client:
        streams = [await client.stream_chat_completion(ask()) for _ in range(4)]
        assert [stream.engine for stream in streams] == ["one", "two", "one", "two"]
        await streams[1].aclose()
        await streams[1].aclose()
        again = await client.stream_chat_completion(ask())
        assert again.engine == "two"
        for stream in (*streams, again):
            await stream.aclose()


async def test_a_stream_counts_until_it_ends_in_whatever_way() -> None:
    scripts = [answer("Hi"), Script(steps=[text_chunk("a"), Hang()]), refuse(EngineFaultError("no"))]
    async with started([engine("one", scripts=scripts), engine("two")]) as client:
        assert [batch async for batch in await client.stream_chat_completion(ask())]
        reader = asyncio.ensure_future(anext(await client.stream_chat_completion(ask())))
        await reader
        with pytest.raises(EngineFaultError):
            await client._members["one"].engine.chat_completion(ask())
        assert {name: member.in_flight for name, member in client._members.items()} == {"one": 1, "two": 0}


async def test_an_engine_that_is_not_well_gets_no_calls() -> None:
    one, two = engine("one"), engine("two")
    async with started([one, two]) as client:
        one.status = "loading"
        await client.look()
        assert {(await client.chat_completion(ask(key=str(n)))).engine for n in range(9)} == {"two"}
        two.status = "failed"
        await client.look()
        # none is well: those that serve the model give their own answer
        assert (await client.chat_completion(ask())).engine == "one"


async def test_an_engine_that_cannot_be_reached_is_left_out_at_once() -> None:
    one = engine("one", scripts=[refuse(EngineUnreachableError("gone"))])
    async with started([one, engine("two")]) as client:
        with pytest.raises(EngineUnreachableError):
            await client.chat_completion(ask())
        assert (await client.chat_completion(ask())).engine == "two"


async def test_capabilities_are_those_of_all_that_may_answer() -> None:
    blind = msgspec.structs.replace(SCRIPTED_CAPABILITIES, images=False)
    one, two = engine("one"), engine("two", capabilities=blind)
    async with started([one, two]) as client:
        assert not (await client.capabilities("m")).images
        two.status = "unreachable"
        await client.look()
        assert (await client.capabilities("m")).images


# ---- health --------------------------------------------------------------------------------------------


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


async def test_each_change_of_an_engines_health_is_logged_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(LOGGER, "propagate", True)
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


async def test_a_key_that_an_engine_repeats_is_not_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(LOGGER, "propagate", True)
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
    monkeypatch.setattr(client_module, "CALM_INTERVAL", 0.01)
    monkeypatch.setattr(LOGGER, "propagate", True)
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
    monkeypatch.setattr(client_module, "ANXIOUS_INTERVAL", 0.01)
    late = engine("late", status="unreachable")
    async with started([late]) as client:
        with pytest.raises(OverloadedError):
            client.resolve("m")
        late.status = "ok"
        async with asyncio.timeout(5):
            while not await client.models():  # noqa: ASYNC110 - it is the client that looks, now and then
                await asyncio.sleep(0.01)
        assert client.resolve("m") == "m"


async def test_starting_and_closing_twice_is_quiet() -> None:
    client = InferenceEngineClient([engine("one")])
    await client.aclose()
    await client.start()
    await client.start()
    await client.aclose()
    await client.aclose()


# ---- from settings -------------------------------------------------------------------------------------


async def test_engines_come_from_the_settings() -> None:
    entries = (EngineEntry(url="http://127.0.0.1:1"), EngineEntry(url="http://127.0.0.1:2", name="b"))
    client = build_client(Settings(engines=entries))
    members = client._members
    assert list(members) == ["127.0.0.1:1", "b"]
    assert all(isinstance(member.engine, RemoteInferenceEngine) for member in members.values())
    await client.aclose()


async def test_without_engines_the_embedded_one() -> None:
    llamacpp = pytest.importorskip("dragoman.engines.llamacpp", reason="the extra `local` is not installed")
    client = build_client(Settings(model="some.gguf"))
    (member,) = client._members.values()
    assert isinstance(member.engine, llamacpp.LlamaCppInferenceEngine)
    await client.aclose()


async def test_a_default_that_nobody_serves_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(LOGGER, "propagate", True)
    async with started([engine("one", "a")], Settings(default_model="b")):
        assert "default_model b is not served; there is a" in caplog.text
    caplog.clear()
    async with started([engine("one", "a", "b")], Settings(default_model="b")):
        assert caplog.text == ""


async def test_an_unknown_name_is_not_repeated_at_length() -> None:
    async with started([engine("one", "a")]) as client:
        with pytest.raises(NotFoundError) as caught:
            client.resolve("x" * 100_000)
    assert caught.value.message == f"model: {'x' * 200}... is not served here; there is a"
