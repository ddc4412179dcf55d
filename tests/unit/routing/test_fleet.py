"""Engines that are full, that join, and that leave while calls run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from dragoman.engines.base import InferenceEngine
from dragoman.engines.scripted import Hang, Script, ScriptedInferenceEngine, answer, text_chunk
from dragoman.errors import EngineFaultError, OverloadedError, SettingsError
from dragoman.settings import Routing, Settings
from dragoman.wire.openai import ChatRequest
from tests.unit.routing.clients import ask, engine, started


async def until(holds: Callable[[], bool]) -> None:
    """Waits for what other tasks bring about."""
    async with asyncio.timeout(5):
        while not holds():  # noqa: ASYNC110 - there is nothing to wait for but the state itself
            await asyncio.sleep(0.001)


def bounded(name: str, most: int, *models: str) -> ScriptedInferenceEngine:
    """An engine that takes so many calls at a time; each hangs until it is closed."""
    hanging = Script(steps=[text_chunk("a"), Hang()])
    made = engine(name, *models, scripts=lambda _request: hanging)
    made.max_requests = most
    return made


# ---- full ----------------------------------------------------------------------------------------------


async def test_calls_wait_for_room_in_their_order() -> None:
    async with started([bounded("one", 2)]) as client:
        running = [await client.stream_chat_completion(ask()) for _ in range(2)]
        waiting = []
        for n in range(3):
            waiting.append(asyncio.create_task(client.stream_chat_completion(ask(key=str(n)))))
            await asyncio.sleep(0.01)
        assert b"dragoman_requests_waiting 3.0" in client.metrics.render()
        assert not any(task.done() for task in waiting)
        for n, stream in enumerate([*running, None]):
            if stream is None:
                await (await waiting[0]).aclose()
            else:
                await stream.aclose()
            await until(waiting[n].done)
            assert [task.done() for task in waiting] == [place <= n for place in range(3)]
        for task in waiting:
            await (await task).aclose()
        assert client.engines["one"].in_flight == 0
        assert b"dragoman_requests_waiting 0.0" in client.metrics.render()


async def test_who_finds_the_line_full_is_told_when_to_come_again() -> None:
    settings = Settings(routing=Routing(queue=1))
    async with started([bounded("one", 1)], settings) as client:
        running = await client.stream_chat_completion(ask())
        waiting = asyncio.create_task(client.stream_chat_completion(ask()))
        await asyncio.sleep(0.01)
        with pytest.raises(OverloadedError, match="queue") as caught:
            await client.stream_chat_completion(ask())
        assert caught.value.status == 529
        assert caught.value.retry_after is not None
        assert 1 <= caught.value.retry_after <= 60
        assert b"dragoman_requests_turned_away_total 1.0" in client.metrics.render()
        await running.aclose()
        await (await waiting).aclose()


async def test_no_call_waits_for_ever() -> None:
    settings = Settings(routing=Routing(queue_seconds=0.02))
    async with started([bounded("one", 1)], settings) as client:
        running = await client.stream_chat_completion(ask())
        with pytest.raises(OverloadedError, match="no engine had room in time"):
            await client.stream_chat_completion(ask())
        await running.aclose()
        assert client.engines["one"].in_flight == 0


async def test_the_room_of_a_call_that_left_is_the_next_ones() -> None:
    async with started([bounded("one", 1)]) as client:
        running = await client.stream_chat_completion(ask())
        first, second = (asyncio.create_task(client.stream_chat_completion(ask())) for _ in range(2))
        await asyncio.sleep(0.01)
        # it is given the room, and gone before it can take it
        closing = asyncio.create_task(running.aclose())
        await asyncio.sleep(0)
        first.cancel()
        await closing
        await until(second.done)
        await (await second).aclose()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert client.engines["one"].in_flight == 0


async def test_room_is_given_to_who_can_use_it() -> None:
    async with started([bounded("one", 1, "a"), bounded("two", 1, "b")]) as client:
        at_one = await client.stream_chat_completion(ask("a"))
        at_two = await client.stream_chat_completion(ask("b"))
        for_a = asyncio.create_task(client.stream_chat_completion(ask("a")))
        for_b = asyncio.create_task(client.stream_chat_completion(ask("b")))
        await asyncio.sleep(0.01)
        await at_two.aclose()
        await until(for_b.done)
        assert not for_a.done()
        await at_one.aclose()
        for task in (for_a, for_b):
            await (await task).aclose()


async def test_a_full_engine_leaves_its_sessions_to_others() -> None:
    async with started([bounded("one", 1), bounded("two", 1)]) as client:
        streams = [await client.stream_chat_completion(ask(key="same")) for _ in range(2)]
        assert {stream.engine for stream in streams} == {"one", "two"}
        for stream in streams:
            await stream.aclose()


# ---- join and leave ------------------------------------------------------------------------------------


async def test_an_engine_joins_while_calls_run() -> None:
    async with started([engine("one")]) as client:
        with pytest.raises(SettingsError, match="one is called one already"):
            await client.add(engine("one"))
        await client.add(engine("two", "m", "n"))
        assert [card.id for card in await client.models()] == ["m", "n"]
        assert {(await client.chat_completion(ask(key=str(n)))).engine for n in range(20)} == {"one", "two"}


class Unstartable(ScriptedInferenceEngine):
    """Fails as it starts, and knows whether it was closed."""

    is_closed = False

    async def start(self) -> None:
        raise EngineFaultError("no memory")

    async def aclose(self) -> None:
        self.is_closed = True
        await super().aclose()


async def test_an_engine_that_cannot_start_is_closed_and_joins_nobody() -> None:
    async with started([engine("one")]) as client:
        broken = Unstartable(lambda _request: answer("a"), name="two", models=["m"])
        with pytest.raises(EngineFaultError, match="no memory"):
            await client.add(broken)
        assert broken.is_closed
        assert list(client.engines) == ["one"]


async def test_a_draining_engine_ends_what_it_began_and_gets_nothing_new() -> None:
    slow = Script(steps=[text_chunk("a"), Hang()])
    one, two = engine("one", scripts=lambda _request: slow), engine("two")
    async with started([one, two]) as client:
        stream = await client.stream_chat_completion(ask())
        assert stream.engine == "one"
        assert await client.drain("one", seconds=0.01) is False
        assert {(await client.chat_completion(ask(key=str(n)))).engine for n in range(9)} == {"two"}
        draining = asyncio.create_task(client.drain("one"))
        await stream.aclose()
        assert await draining is True


async def test_where_all_drain_there_is_nobody() -> None:
    async with started([engine("one")]) as client:
        await client.drain("one")
        with pytest.raises(OverloadedError, match="no engine that serves this model"):
            await client.chat_completion(ask())


async def test_an_engine_that_is_removed_is_closed_and_forgotten() -> None:
    closed: list[str] = []

    class Closing(ScriptedInferenceEngine):
        async def aclose(self) -> None:
            closed.append(self.name)

    def ready(_request: ChatRequest) -> Script:
        return answer("Hi")

    one: InferenceEngine = Closing(ready, name="one", models=["m"])
    async with started([one, engine("two")]) as client:
        with pytest.raises(SettingsError, match="none is called 'three'; there is one, two"):
            await client.remove("three")
        await client.remove("one")
        assert (list(client.engines), closed) == (["two"], ["one"])
        assert {(await client.chat_completion(ask(key=str(n)))).engine for n in range(9)} == {"two"}
    assert closed == ["one"]


# ---- what engines tell ---------------------------------------------------------------------------------


class Telling(ScriptedInferenceEngine):
    """An engine that tells how many calls it has."""

    tells: int | None = None

    async def running(self) -> int | None:
        if self.tells is None:
            raise EngineFaultError("no metrics")
        return self.tells


async def test_calls_of_others_count() -> None:
    one, two = (Telling(lambda _request: answer("Hi"), name=name, models=["m"]) for name in ("one", "two"))
    one.tells = 7
    async with started([one, two]) as client:
        assert {name: member.load for name, member in client.engines.items()} == {"one": 7, "two": 0}
        assert (await client.chat_completion(ask())).engine == "two"
        two.tells = 9
        await client.look()
        assert (await client.chat_completion(ask())).engine == "one"


async def test_our_own_calls_are_not_counted_twice() -> None:
    hanging = Script(steps=[text_chunk("a"), Hang()])
    one = Telling(lambda _request: hanging, name="one", models=["m"])
    one.tells = 0
    async with started([one]) as client:
        stream = await client.stream_chat_completion(ask())
        one.tells = 1
        await client.look()
        assert client.engines["one"].load == 1
        await stream.aclose()


async def test_two_may_remove_an_engine_at_a_time() -> None:
    async with started([engine("one"), engine("two")]) as client:
        member = client.engines["one"]
        member.enter()
        removing = [asyncio.create_task(client.remove("one")) for _ in range(2)]
        await asyncio.sleep(0)
        member.leave()
        await asyncio.gather(*removing)
        assert sorted(client.engines) == ["two"]
