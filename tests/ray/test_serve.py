"""The server under Ray Serve: replicas that share nothing agree, and outlive what dies beside them."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import closing
from socket import create_server
from typing import Any

import aiohttp
import msgspec
import pytest
import pytest_asyncio

from dragoman.engines.ray import RayInferenceEngine
from dragoman.ray import Served, deployed
from dragoman.settings import EngineEntry, Ray, RayActor, Routing, Settings
from tests.ray.engines import COUNT, MODEL, WORDS
from tests.support.ray_here import ray_here

pytestmark = [
    pytest.mark.engine,
    pytest.mark.slow,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.xdist_group("ray"),
    pytest.mark.timeout(240),
]
NUMBERS = "".join(f"{number} " for number in range(WORDS))
ENGINES = ("east", "north", "west")
SESSIONS = [f"session {number}" for number in range(12)]


def free_port() -> int:
    with closing(create_server(("127.0.0.1", 0))) as listening:
        port: int = listening.getsockname()[1]
        return port


def settings() -> Settings:
    where = RayActor(factory="tests.ray.engines:telling", num_cpus=0.1)
    entries = tuple(EngineEntry(name=name, ray=where) for name in ENGINES)
    few = Ray(min_replicas=2, max_replicas=2, replica_cpus=0.1)
    # a session that leaves an engine for its load would say nothing of where it belongs
    return Settings(port=free_port(), engines=entries, ray=few, routing=Routing(bound=100.0))


class Door:
    """A client of the server."""

    def __init__(self, session: aiohttp.ClientSession, asked: Settings) -> None:
        self._session = session
        self.settings = deployed(asked)

    async def ask(self, key: str, *, whole: bool = False) -> tuple[str, str | None]:
        """The engine that answers a session, and what it says; None where the connection broke."""
        body = {"model": MODEL, "max_tokens": 999, "messages": [{"role": "user", "content": COUNT}]}
        headers = {"x-session-id": key}
        data = msgspec.json.encode(body | {"stream": not whole})
        text, engine = "", ""
        try:
            async with self._session.post("/v1/messages", data=data, headers=headers) as answer:
                assert answer.status == 200, await answer.text()
                engine = answer.headers["x-dragoman-engine"]
                lines = (await answer.read()).decode().splitlines()
        except aiohttp.ClientError:
            return engine, None
        events = [msgspec.json.decode(line[6:]) for line in lines if line.startswith("data: ")]
        text = "".join(event["delta"].get("text", "") for event in events if "delta" in event)
        return engine, text if events[-1]["type"] == "message_stop" else None

    async def replicas(self) -> set[str]:
        """Replicas that have answered, each by the time to the first words of all its answers."""
        met = set()
        for _ in range(16):
            async with self._session.get("/metrics") as answer:
                told = (await answer.text()).splitlines()
            met.add("".join(line for line in told if line.startswith("dragoman_first_token_seconds_sum")))
        return met - {""}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def door() -> AsyncIterator[Door]:
    asked = settings()
    with ray_here():
        served = Served(asked)
        await asyncio.to_thread(served.begin)
        try:
            address = f"http://127.0.0.1:{asked.port}"
            headers = {"content-type": "application/json"}
            async with aiohttp.ClientSession(address, headers=headers) as session:
                yield Door(session, asked)
        finally:
            await asyncio.to_thread(served.end)


async def test_a_session_has_one_engine_through_all_replicas(door: Door) -> None:
    places: dict[str, set[str]] = {key: set() for key in SESSIONS}
    for _ in range(4):
        answers = await asyncio.gather(*map(door.ask, SESSIONS))
        assert [text for _, text in answers] == [NUMBERS] * len(SESSIONS)
        for key, (engine, _) in zip(SESSIONS, answers, strict=True):
            places[key].add(engine)
    assert len(await door.replicas()) == 2
    assert {len(engines) for engines in places.values()} == {1}
    assert set().union(*places.values()) == set(ENGINES)


async def test_no_answer_is_lost_with_an_engine(door: Door) -> None:
    victim, _ = await door.ask(SESSIONS[0])
    entry = next(entry for entry in door.settings.engines if entry.name == victim)
    engine = RayInferenceEngine(entry, door.settings)
    await engine.start()
    told: dict[str, Any] = msgspec.json.decode(await engine.detokenize(MODEL, []))
    load = asyncio.gather(*map(door.ask, SESSIONS))
    await asyncio.sleep(0.6)
    os.kill(told["pid"], signal.SIGKILL)
    answers = await load
    assert victim in {name for name, _ in answers}
    assert [text for _, text in answers] == [NUMBERS] * len(SESSIONS)
    await engine.aclose()


async def test_only_what_a_replica_was_writing_is_lost_with_it(door: Door) -> None:
    with ray_here() as ray:
        actors = ray.util.list_named_actors(all_namespaces=True)
        replica = next(one for one in actors if one["name"].startswith("SERVE_REPLICA::dragoman"))
        load = asyncio.gather(*map(door.ask, SESSIONS))
        await asyncio.sleep(0.6)
        ray.kill(ray.get_actor(replica["name"], namespace=replica["namespace"]), no_restart=True)
    texts = [text for _, text in await load]
    assert set(texts) <= {NUMBERS, None}
    assert NUMBERS in texts
    answers = await asyncio.gather(*map(door.ask, SESSIONS))
    assert [text for _, text in answers] == [NUMBERS] * len(SESSIONS)
