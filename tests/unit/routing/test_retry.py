"""What the client of many does when an engine fails before it said anything."""

from __future__ import annotations

import asyncio

import pytest

from dragoman.engines.base import EngineUnreachableError
from dragoman.engines.scripted import Cut, Fail, Script, ScriptedInferenceEngine, answer, refuse, text_chunk
from dragoman.errors import (
    DragomanError,
    EngineFaultError,
    EngineLostError,
    EngineTimeoutError,
    InvalidRequestError,
    NotSupportedError,
    OverloadedError,
    RateLimitError,
)
from dragoman.routing.causes import cause_of
from dragoman.routing.client import InferenceEngineClient
from dragoman.settings import Routing, Settings
from dragoman.wire.openai import ChatChunk, ChatRequest
from tests.unit.routing.clients import ask, engine, started


def failing(name: str, error: DragomanError) -> ScriptedInferenceEngine:
    return engine(name, scripts=lambda _request: refuse(error))


async def text_of(client: InferenceEngineClient, request: ChatRequest) -> str:
    """The text of a streamed answer."""
    stream = await client.stream_chat_completion(request)
    chunks: list[ChatChunk] = [chunk async for batch in stream for chunk in batch]
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)


FAILURES = {
    "unreachable": EngineUnreachableError("gone"),
    "overloaded": OverloadedError("full", retry_after=30),
    "rate_limited": RateLimitError("slow down", retry_after=30),
    "timeout": EngineTimeoutError("silent"),
    "lost": EngineLostError("cut"),
    "fault": EngineFaultError("garbage"),
}


@pytest.mark.parametrize("cause", FAILURES)
async def test_another_engine_answers(cause: str) -> None:
    error = type(FAILURES[cause])("no", retry_after=30)
    assert cause_of(error) == cause
    one, two = failing("one", error), engine("two")
    async with started([one, two]) as client:
        assert (await client.chat_completion(ask())).engine == "two"
        metrics = client.metrics.render().decode()
    assert f'dragoman_engine_errors_total{{cause="{cause}",engine="one"}} 1.0' in metrics
    assert f'dragoman_engine_retries_total{{cause="{cause}",engine="one"}} 1.0' in metrics


@pytest.mark.parametrize("cause", FAILURES)
async def test_a_stream_begins_anew_elsewhere(cause: str) -> None:
    role_only = Script(steps=[text_chunk(""), Fail(type(FAILURES[cause])("no"))])
    async with started([engine("one", scripts=[role_only]), engine("two")]) as client:
        assert await text_of(client, ask()) == "Hi"
        assert b'streams_continued_total{engine="one",how="anew"} 1.0' in client.metrics.render()


@pytest.mark.parametrize(
    "error", [InvalidRequestError("messages: wrong"), NotSupportedError("no"), InvalidRequestError("no")]
)
async def test_a_mistake_of_the_client_is_one_everywhere(error: DragomanError) -> None:
    one, two = failing("one", error), failing("two", error)
    async with started([one, two]) as client:
        with pytest.raises(type(error)):
            await client.chat_completion(ask())
        assert len(one.calls) + len(two.calls) == 1
        assert b"engine_errors_total{" not in client.metrics.render()


async def test_it_is_tried_on_so_many_engines_and_the_last_error_is_told() -> None:
    engines = [failing(name, EngineFaultError(name)) for name in ("one", "two", "three", "four")]
    async with started(engines, Settings(routing=Routing(retries=2))) as client:
        with pytest.raises(EngineFaultError, match="three"):
            await client.chat_completion(ask())
    assert [len(member.calls) for member in engines] == [1, 1, 1, 0]


async def test_a_single_engine_is_not_asked_again() -> None:
    for error in FAILURES.values():
        one = failing("one", type(error)("no", retry_after=0.01))
        async with started([one]) as client:
            with pytest.raises(type(error)):
                await client.chat_completion(ask())
        assert len(one.calls) == 1


async def test_where_all_are_full_the_wait_that_they_ask_for_is_kept() -> None:
    full = refuse(RateLimitError("slow down", retry_after=0.01))
    engines = [engine(name, scripts=[full, answer("Hi")]) for name in ("one", "two")]
    async with started(engines) as client:
        completion = await client.chat_completion(ask(key="a"))
    assert completion.choices[0].message.content == "Hi"
    assert sorted(len(member.calls) for member in engines) == [1, 2]


async def test_a_wait_that_is_too_long_is_the_clients_to_keep() -> None:
    engines = [failing(name, RateLimitError("slow", retry_after=60)) for name in ("one", "two")]
    async with started(engines) as client:
        with pytest.raises(RateLimitError) as caught:
            await client.chat_completion(ask())
    assert caught.value.retry_after == 60
    assert [len(member.calls) for member in engines] == [1, 1]


async def test_retries_are_bounded_by_the_budget() -> None:
    one, two = failing("one", EngineFaultError("no")), failing("two", EngineFaultError("no"))
    async with started([one, two], Settings(routing=Routing(retry_share=0.0))) as client:
        for _ in range(4):
            with pytest.raises(EngineFaultError):
                await client.chat_completion(ask())
    assert len(one.calls) + len(two.calls) == 4


async def test_an_engine_that_keeps_failing_is_left_alone_and_tried_again() -> None:
    routing = Routing(breaker_failures=2, breaker_seconds=0.2)
    scripts = [refuse(EngineFaultError("no")) for _ in range(3)]
    one = engine("one", scripts=[*scripts, *(answer("Hi") for _ in range(9))])
    async with started([one, engine("two")], Settings(routing=routing)) as client:
        engines = [(await client.chat_completion(ask())).engine for _ in range(4)]
        assert (engines, len(one.calls)) == (["two"] * 4, 2)
        assert b'dragoman_breakers_opened_total{engine="one"} 1.0' in client.metrics.render()
        await asyncio.sleep(0.25)
        assert (await client.chat_completion(ask())).engine == "two"
        assert len(one.calls) == 3, "the one that tries"
        await asyncio.sleep(0.25)
        assert (await client.chat_completion(ask())).engine == "one"
        assert client.engines["one"].breaker.state(0) == "closed"


async def test_streams_that_break_open_the_breaker_though_they_begin_well() -> None:
    broken = Script(steps=[text_chunk("a"), Cut()])
    one = engine("one", scripts=lambda _request: broken)
    settings = Settings(routing=Routing(breaker_failures=2, continuation=False))
    async with started([one, engine("two")], settings) as client:
        for _ in range(2):
            with pytest.raises(EngineLostError):
                await text_of(client, ask())
        assert await text_of(client, ask()) == "Hi"
    assert len(one.calls) == 2


async def test_where_every_breaker_is_open_calls_are_made_all_the_same() -> None:
    one = engine("one", scripts=[refuse(EngineFaultError("no")), answer("Hi")])
    async with started([one], Settings(routing=Routing(breaker_failures=1))) as client:
        with pytest.raises(EngineFaultError):
            await client.chat_completion(ask())
        assert (await client.chat_completion(ask())).engine == "one"


async def test_a_cancelled_call_says_nothing_of_the_engine() -> None:
    slow = Script(steps=[], wait=60)
    one = engine("one", scripts=[slow])
    async with started([one]) as client:
        call = asyncio.create_task(client.chat_completion(ask()))
        while not one.calls:  # noqa: ASYNC110 - the call is on its way to it
            await asyncio.sleep(0)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert client.engines["one"].in_flight == 0
        assert b"engine_errors_total{" not in client.metrics.render()


# ---- many calls at once --------------------------------------------------------------------------------


async def test_a_batch_keeps_its_order() -> None:
    def echo(request: ChatRequest) -> Script:
        return Script(
            steps=answer(str(request.max_tokens)).steps, wait=0.001 * (5 - (request.max_tokens or 0))
        )

    engines = [engine(name, scripts=echo) for name in ("one", "two")]
    requests = [ask(key=str(n)) for n in range(5)]
    for n, request in enumerate(requests):
        request.max_tokens = n
    async with started(engines) as client:
        answers = await client.chat_completions(requests)
    assert [one.choices[0].message.content for one in answers] == ["0", "1", "2", "3", "4"]


async def test_a_batch_is_whole_or_an_error() -> None:
    def one_wrong(request: ChatRequest) -> Script:
        if request.max_tokens == 3:
            return refuse(InvalidRequestError("max_tokens: 3 is unlucky"))
        return Script(steps=answer("ok").steps, wait=60)

    one = engine("one", scripts=one_wrong)
    requests = [ask() for _ in range(5)]
    for n, request in enumerate(requests):
        request.max_tokens = n
    async with started([one]) as client, asyncio.timeout(5):
        with pytest.raises(InvalidRequestError, match="unlucky"):
            await client.chat_completions(requests)
        assert client.engines["one"].in_flight == 0
    assert {call.outcome for call in one.calls} == {"failed", "cancelled"}
