"""What the remote engine asks a server, and when: its kind, its models, its health, what it can do."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from dragoman.engines.base import EngineUnreachableError
from dragoman.errors import (
    EngineConfigurationError,
    EngineFaultError,
    EngineTimeoutError,
    NotSupportedError,
)
from dragoman.settings import Dialect, Timeouts
from tests.support.fake_openai import (
    Answer,
    FakeOpenAI,
    Hang,
    Pause,
    Route,
    Seen,
    reply,
)
from tests.unit.engines.remotes import ask, remote, until


async def test_models_are_those_listed_or_those_named() -> None:
    cards = [{"id": "a", "created": 5, "max_model_len": 9}, {"id": "b", "meta": {"n_ctx": 7}}, {"id": "c"}]
    async with FakeOpenAI({"/v1/models": reply({"data": cards})}) as fake:
        async with remote(fake) as engine:
            listed = await engine.models()
            assert [(card.id, card.created, card.context_length) for card in listed] == [
                ("a", 5, 9),
                ("b", 0, 7),
                ("c", 0, None),
            ]
        async with remote(fake, models=("x", "a")) as engine:
            assert [(card.id, card.context_length) for card in await engine.models()] == [
                ("x", None),
                ("a", 9),
            ]


@pytest.mark.parametrize(
    ("created", "ours"),
    [(1.5, 1), (None, 0), ("today", 0), (-1, 0), (1_700_000_000_000, 0), (1_700_000_000, 1_700_000_000)],
)
async def test_a_list_is_no_worse_for_its_times(created: object, ours: int) -> None:
    listed = reply({"data": [{"id": "m", "created": created, "owned_by": None}]})
    async with FakeOpenAI({"/v1/models": listed}) as fake, remote(fake) as engine:
        assert [card.created for card in await engine.models()] == [ours]


async def test_a_model_stays_as_old_as_it_was_at_first() -> None:
    times = iter((1_700_000_000, 1_700_000_010))

    def listed(_seen: Seen) -> Answer:
        return reply({"data": [{"id": "m", "created": next(times)}]})

    async with FakeOpenAI({"/v1/models": listed}) as fake, remote(fake) as engine:
        assert [(await engine.models())[0].created for _ in range(2)] == [1_700_000_000] * 2


async def test_a_list_that_is_no_text_is_a_fault() -> None:
    listed = Answer(pieces=[b'{"data":[{"id":"\xff"}]}'])
    async with FakeOpenAI({"/v1/models": listed}) as fake, remote(fake, dialect="auto") as engine:
        await engine.start()
        with pytest.raises(EngineFaultError):
            await engine.models()


async def test_a_list_may_come_in_pieces() -> None:
    pieces = [b'{"data": [', b'{"id": "a"}', b"]}"]
    async with FakeOpenAI({"/v1/models": Answer(pieces=pieces)}) as fake, remote(fake) as engine:
        assert [card.id for card in await engine.models()] == ["a"]


async def test_a_server_without_a_list_needs_names() -> None:
    async with FakeOpenAI({"/v1/models": reply({}, 404)}) as fake:
        async with remote(fake, models=("x",)) as engine:
            assert [card.id for card in await engine.models()] == ["x"]
        async with remote(fake) as engine:
            with pytest.raises(EngineConfigurationError):
                await engine.models()


@pytest.mark.parametrize(
    ("status", "said"), [(200, "ok"), (404, "ok"), (503, "loading"), (401, "misconfigured"), (500, "failed")]
)
async def test_health_is_what_the_server_says(status: int, said: str) -> None:
    async with FakeOpenAI({"/v1/models": reply({}, status)}) as fake, remote(fake) as engine:
        assert (await engine.health()).status == said


async def test_health_of_a_server_that_is_still_loading_or_refuses_the_key() -> None:
    async with FakeOpenAI({"/v1/models": reply({}, 503)}) as fake, remote(fake, dialect="auto") as engine:
        await engine.start()
        assert (await engine.health()).status == "loading"
        fake.routes["/v1/models"] = reply({}, 401)
        assert (await engine.health()).status == "misconfigured"
        fake.routes["/v1/models"] = reply({"data": []})
        assert (await engine.health()).status == "ok"


async def test_a_server_that_comes_up_later_is_asked_then() -> None:
    fake = FakeOpenAI({"/props": reply({"default_generation_settings": {"n_ctx": 64}})})
    await fake.start()
    await fake.stop()
    async with remote(fake, dialect="auto") as engine:
        await engine.start()
        assert (await engine.health()).status == "unreachable"
        with pytest.raises(EngineUnreachableError) as raised:
            await engine.chat_completion(ask())
        assert raised.value.status == 529
        async with fake:
            fake.routes["/health"] = reply({})
            assert (await engine.health()).status == "ok"
            assert (await engine.dialect()).name == "llamacpp"


async def test_a_server_that_goes_away_is_asked_anew() -> None:
    cards = reply({"data": [{"id": "m", "max_model_len": 10}]})
    async with FakeOpenAI({"/v1/models": cards}) as fake, remote(fake) as engine:
        assert (await engine.capabilities("m")).context_length == 10
        await fake.stop()
        with pytest.raises(EngineUnreachableError):
            await engine.chat_completion(ask())
        fake.routes["/v1/models"] = reply({"data": [{"id": "m", "max_model_len": 20}]})
        await fake.start()
        assert (await engine.capabilities("m")).context_length == 20


async def test_a_probe_that_takes_too_long_is_a_timeout() -> None:
    slow = Answer(pieces=[Pause(5)])
    timeouts = Timeouts(probe=0.1)
    async with FakeOpenAI({"/v1/models": slow}) as fake, remote(fake, "auto", timeouts) as engine:
        health = await engine.health()
        assert health.status == "failed"


def _slowly(answered: dict[str, Any]) -> dict[str, Route | Answer]:
    """Routes that take a part of the probe timeout each."""
    return {path: Answer(pieces=[Pause(0.2), msgspec.json.encode(said)]) for path, said in answered.items()}


VLLM: dict[str, Any] = {
    "/v1/models": {"data": [{"id": "m", "owned_by": "vllm", "max_model_len": 64}]},
    "/tokenize": {"count": 1, "tokens": [1]},
    "/detokenize": {"prompt": "alpha-1"},
}


async def test_every_question_has_the_probe_timeout_for_itself() -> None:
    async with FakeOpenAI(_slowly(VLLM)) as fake, remote(fake, "auto", Timeouts(probe=0.5)) as engine:
        # one after the other they take more than twice that long
        assert (await engine.capabilities("m")).context_length == 64


async def test_what_was_answered_before_a_silence_is_not_asked_again() -> None:
    silent = Answer(silent=True, pieces=[Hang()])
    routes = _slowly(VLLM) | {"/detokenize": silent}
    async with FakeOpenAI(routes) as fake, remote(fake, "vllm", Timeouts(probe=0.5)) as engine:
        for _ in range(2):
            with pytest.raises(EngineTimeoutError):
                await engine.capabilities("m")
        assert [seen.path for seen in fake.seen] == ["/tokenize", "/detokenize", "/detokenize"]
        fake.routes["/detokenize"] = reply(VLLM["/detokenize"])
        assert (await engine.capabilities("m")).counting


async def test_all_questions_together_have_a_bound() -> None:
    timeouts = Timeouts(probe=0.5, first_byte=0.3)
    async with FakeOpenAI(_slowly(VLLM)) as fake, remote(fake, "vllm", timeouts) as engine:
        with pytest.raises(EngineTimeoutError):
            await engine.capabilities("m")


async def test_an_engine_that_cannot_count_says_so() -> None:
    async with FakeOpenAI() as fake, remote(fake) as engine:
        with pytest.raises(NotSupportedError):
            await engine.count_tokens(ask())


async def test_many_calls_ask_for_capabilities_once() -> None:
    async with FakeOpenAI() as fake, remote(fake) as engine:
        await asyncio.gather(*(engine.capabilities("m") for _ in range(5)))
        assert len(fake.seen) == 1


@pytest.mark.parametrize("dialect", ["auto", "vllm"])
async def test_those_who_wait_for_a_silent_server_wait_together(dialect: Dialect) -> None:
    silent = Answer(silent=True, pieces=[Hang()])
    timeouts = Timeouts(probe=1.0)
    routes: dict[str, Route | Answer] = {"/v1/models": silent, "/tokenize": silent, "/version": silent}
    async with FakeOpenAI(routes) as fake, remote(fake, dialect, timeouts) as engine:
        async with asyncio.timeout(10):
            failures = await asyncio.gather(
                *(engine.capabilities("m") for _ in range(30)), return_exceptions=True
            )
        assert {type(failure) for failure in failures} == {EngineTimeoutError}
        assert len(fake.seen) == 1


async def test_one_who_stops_waiting_leaves_the_question_to_the_others() -> None:
    slow = Answer(pieces=[Pause(0.3), b'{"data":[{"id":"m"}]}'])
    async with FakeOpenAI({"/v1/models": slow}) as fake, remote(fake, "auto") as engine:
        first, second = (asyncio.create_task(engine.dialect()) for _ in range(2))
        await until(lambda: len(fake.seen) == 1)
        first.cancel()
        assert (await second).name == "generic"
        assert first.cancelled()
