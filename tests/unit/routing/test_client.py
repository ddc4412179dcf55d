"""Many engines as one: names, placement, health, what is in flight."""

from __future__ import annotations

import asyncio
import socket

import msgspec
import pytest

from dragoman.engines.base import EngineUnreachableError
from dragoman.engines.remote import RemoteInferenceEngine
from dragoman.engines.scripted import (
    SCRIPTED_CAPABILITIES,
    Hang,
    Script,
    answer,
    refuse,
    text_chunk,
)
from dragoman.errors import (
    EngineFaultError,
    NotFoundError,
    OverloadedError,
    SettingsError,
)
from dragoman.observe.logs import reason_of
from dragoman.routing.client import InferenceEngineClient, build_client
from dragoman.settings import EngineEntry, Settings
from tests.unit.routing.clients import ask, engine, started

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
        (Settings(default_model="gone"), "'claude-opus-5' is an alias of the default model gone, which is"),
        (Settings(aliases={"claude-*": "gone"}), "'claude-opus-5' is an alias of gone, which is"),
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
            await client.engines["one"].engine.chat_completion(ask())
        assert {name: member.in_flight for name, member in client.engines.items()} == {"one": 1, "two": 0}


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
        assert (await client.chat_completion(ask())).engine == "two"
        assert client.engines["one"].health.status == "unreachable"
        assert {(await client.chat_completion(ask(key=str(n)))).engine for n in range(9)} == {"two"}


async def test_capabilities_are_those_of_all_that_may_answer() -> None:
    blind = msgspec.structs.replace(SCRIPTED_CAPABILITIES, images=False)
    one, two = engine("one"), engine("two", capabilities=blind)
    async with started([one, two]) as client:
        assert not (await client.capabilities("m")).images
        two.status = "unreachable"
        await client.look()
        assert (await client.capabilities("m")).images


# ---- from settings -------------------------------------------------------------------------------------


async def test_engines_come_from_the_settings() -> None:
    entries = (EngineEntry(url="http://127.0.0.1:1"), EngineEntry(url="http://127.0.0.1:2", name="b"))
    client = build_client(Settings(engines=entries))
    members = client.engines
    assert list(members) == ["127.0.0.1:1", "b"]
    assert all(isinstance(member.engine, RemoteInferenceEngine) for member in members.values())
    await client.aclose()


async def test_without_engines_the_embedded_one() -> None:
    llamacpp = pytest.importorskip("dragoman.engines.llamacpp", reason="the extra `local` is not installed")
    client = build_client(Settings(model="some.gguf"))
    (member,) = client.engines.values()
    assert isinstance(member.engine, llamacpp.LlamaCppInferenceEngine)
    await client.aclose()


async def test_a_default_that_nobody_serves_is_told(caplog: pytest.LogCaptureFixture) -> None:
    async with started([engine("one", "a")], Settings(default_model="b")):
        assert "default_model b is not served; there is a" in caplog.text
    caplog.clear()
    async with started([engine("one", "a", "b")], Settings(default_model="b")):
        assert caplog.text == ""


async def test_an_unknown_name_is_not_repeated_at_length() -> None:
    async with started([engine("one", "a")]) as client:
        with pytest.raises(NotFoundError) as caught:
            client.resolve("x" * 100_000)
    assert caught.value.message == f"model: '{'x' * 200}...' is not served here; there is a"


@pytest.mark.parametrize("name", ["evil\n2026 info request", "it's", "a \"b\": 'c': d", "x: y"])
@pytest.mark.parametrize("aliases", [{}, {"*": "gone"}])
async def test_a_log_line_tells_nothing_of_an_unknown_name(name: str, aliases: dict[str, str]) -> None:
    async with started([engine("one", "a")], Settings(aliases=aliases)) as client:
        with pytest.raises(NotFoundError) as caught:
            client.resolve(name)
    assert repr(name) in caught.value.message
    assert reason_of(caught.value).startswith("model: '...' is ")
