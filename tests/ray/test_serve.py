"""The server under Ray Serve: replicas that share nothing agree, and outlive what dies beside them."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import closing, suppress
from socket import create_server

import aiohttp
import msgspec
import pytest
import pytest_asyncio

from dragoman.engines.ray import RayInferenceEngine
from dragoman.ray import Served, deployed
from dragoman.settings import EngineEntry, Ray, RayActor, Routing, Settings
from tests.ray.engines import COUNT, MODEL, SLOWLY, WORDS
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


class Answer:
    """What a session is told: by which engine, and whether to the end."""

    def __init__(self) -> None:
        self.engine, self.text = "", ""
        self.has_begun = asyncio.Event()
        self.is_whole = False

    def take(self, line: bytes) -> None:
        if not line.startswith(b"data: "):
            return
        event = msgspec.json.decode(line[6:])
        self.text += event.get("delta", {}).get("text", "")
        self.is_whole = event["type"] == "message_stop"
        if self.text:
            self.has_begun.set()


class Door:
    """A client of the server."""

    def __init__(self, session: aiohttp.ClientSession, asked: Settings) -> None:
        self._session = session
        self.settings = deployed(asked)

    async def read(self, key: str, answer: Answer, text: str = COUNT) -> None:
        """Asks in a session, and reads what comes until it ends or breaks."""
        message = {"role": "user", "content": text}
        body = {"model": MODEL, "max_tokens": 999, "messages": [message], "stream": True}
        data, headers = msgspec.json.encode(body), {"x-session-id": key}
        with suppress(aiohttp.ClientError):
            async with self._session.post("/v1/messages", data=data, headers=headers) as response:
                assert response.status == 200, await response.text()
                answer.engine = response.headers["x-dragoman-engine"]
                async for line in response.content:
                    answer.take(line)

    async def ask_all(self, keys: list[str]) -> dict[str, str]:
        """The engine of each session; all of them are answered whole."""
        answers = {key: Answer() for key in keys}
        await asyncio.gather(*(self.read(key, answer) for key, answer in answers.items()))
        assert [answer.text for answer in answers.values()] == [NUMBERS] * len(keys)
        assert all(answer.is_whole for answer in answers.values())
        return {key: answer.engine for key, answer in answers.items()}

    async def replicas(self) -> set[str]:
        """Replicas that have answered, each by the time to the first words of all its answers."""
        met = set()
        for _ in range(16):
            async with self._session.get("/metrics") as answer:
                told = (await answer.text()).splitlines()
            met.add("".join(line for line in told if line.startswith("dragoman_first_token_seconds_sum")))
        return met - {""}

    async def rounds(self) -> list[dict[str, str]]:
        """The engine of each session, several times over."""
        return [await self.ask_all(SESSIONS) for _ in range(4)]


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


async def process_of(entry: EngineEntry, settings: Settings) -> int:
    """The process that an engine's actor is."""
    engine = RayInferenceEngine(entry, settings)
    await engine.start()
    told: dict[str, int] = msgspec.json.decode(await engine.detokenize(MODEL, []))
    await engine.aclose()
    return told["pid"]


async def a_replica() -> tuple[int, int]:
    """The process of one of the replicas, and how many answers it writes at this moment."""
    with ray_here() as ray:
        actors = ray.util.list_named_actors(all_namespaces=True)
        name = next(one for one in actors if one["name"].startswith("SERVE_REPLICA::dragoman"))
        actor = ray.get_actor(name["name"], namespace=name["namespace"])
    told: tuple[int, int] = await actor.__ray_call__.remote(
        lambda replica: (os.getpid(), replica.get_num_ongoing_requests())
    )
    return told


async def test_a_session_has_one_engine_through_all_replicas(door: Door) -> None:
    rounds = await door.rounds()
    assert len(await door.replicas()) == 2
    assert rounds == [rounds[0]] * len(rounds)
    assert set(rounds[0].values()) == set(ENGINES)


async def test_only_what_a_replica_was_writing_is_lost_with_it_and_an_engine(door: Door) -> None:
    home = await door.ask_all(SESSIONS)
    victim = home[SESSIONS[0]]
    entry = next(entry for entry in door.settings.engines if entry.name == victim)
    engine = await process_of(entry, door.settings)
    answers = {key: Answer() for key in sorted(SESSIONS, key=lambda key: home[key] != victim)}
    async with asyncio.TaskGroup() as load:
        for key, answer in answers.items():
            load.create_task(door.read(key, answer, SLOWLY))
            # one by one, so that Serve gives them to its replicas in turn, also those of the one engine
            await answer.has_begun.wait()
        replica, written = await a_replica()
        os.kill(engine, signal.SIGKILL)
        os.kill(replica, signal.SIGKILL)
        assert not any(answer.is_whole for answer in answers.values())
    broken = [key for key, answer in answers.items() if not answer.is_whole]
    assert 0 < len(broken) == written < len(SESSIONS)
    assert all(NUMBERS.startswith(answers[key].text) for key in broken)
    whole = [key for key in SESSIONS if key not in broken]
    assert [answers[key].text for key in whole] == [NUMBERS] * len(whole)
    assert victim in {answers[key].engine for key in whole}
    # who was told that it broke asks again
    await door.ask_all(broken)
    await until_all_are(home, door)


async def until_all_are(home: dict[str, str], door: Door) -> None:
    """Waits until the sessions are where they were, through two replicas."""
    async with asyncio.timeout(120):
        rounds, replicas = [home], 0
        while rounds != [home] * 4 or replicas != 2:
            rounds, replicas = await door.rounds(), len(await door.replicas())
