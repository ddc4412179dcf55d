"""Batches outlive their process: killed at any moment, no request is lost and none is answered twice."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import random
import signal
from collections.abc import Callable
from contextlib import ExitStack
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from dragoman.server.run import address_of, bind, new_loop, serve
from tests.support.fake_openai import CHAT, Answer, FakeOpenAI, Hold, Pause, Seen, reply, whole
from tests.support.serving import Process, dragoman_process, settings_of

KILLS = 50
CREATIONS = 25
SEED = 20_261_126
# The engine answers at most so many requests in one life of the server: so the last kill meets work, too.
PER_LIFE = 12
REQUESTS = KILLS * PER_LIFE + 100


class Echo(FakeOpenAI):
    """An engine that says what it was asked, up to `left` times; then it says nothing more until `give`."""

    def __init__(self, left: int) -> None:
        super().__init__({CHAT: self._say})
        self.left = left
        self._more = asyncio.Event()
        self.running = 0
        self.most_at_once = 0

    def _say(self, seen: Seen) -> Answer:
        self.running = sum(not (chat.written or chat.hung_up) for chat in self.chats)
        self.most_at_once = max(self.most_at_once, self.running)
        said = seen.json["messages"][-1]["content"]
        answer = reply(whole(f"echo {said}"))
        if self.left <= 0:
            return Answer(headers=answer.headers, pieces=[Hold(self._more), *answer.pieces])
        self.left -= 1
        wait = Pause(0.001 + 0.01 * (len(self.seen) % 3))
        return Answer(headers=answer.headers, pieces=[wait, *answer.pieces])

    def give(self, more: int) -> None:
        """What is held is answered, and so many after it."""
        self.left = more
        held, self._more = self._more, asyncio.Event()
        held.set()


def batch_of(names: list[str]) -> dict[str, Any]:
    return {
        "requests": [
            {
                "custom_id": name,
                "params": {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": name}]},
            }
            for name in names
        ]
    }


async def start(stack: ExitStack, engine: FakeOpenAI, folder: Path, *more: str) -> Process:
    """The real command, in a process of its own; the engine answers meanwhile in this one."""
    # nobody reads what it says while it runs, and a full pipe would stop it
    environ = {
        "DRAGOMAN_STATE_DIR": str(folder),
        "DRAGOMAN_TIMEOUTS__SHUTDOWN": "1",
        "DRAGOMAN_LOG_LEVEL": "error",
    }
    command = ("--engine", engine.url, "--dialect", "generic", *more)
    return await asyncio.to_thread(stack.enter_context, dragoman_process(*command, environ=environ))


class Life:
    """A server in a process of its own, which is ended by SIGKILL alone.

    It is forked from a process that has loaded the program already: loading it again would be most of these
    tests' time. What it serves with is what the command serves with.
    """

    def __init__(self, engine: FakeOpenAI, folder: Path) -> None:
        values = {
            "engines": [{"url": engine.url, "dialect": "generic"}],
            "state_dir": str(folder),
            "log_level": "error",
        }
        ours, its = _forks.Pipe(duplex=False)
        self._process = _forks.Process(target=live, args=(values, its), daemon=True)
        self._process.start()
        its.close()
        assert ours.poll(60), "the server is not ready"
        self.url: str = ours.recv()

    def kill(self) -> None:
        self._process.kill()
        self._process.join(30)
        assert self._process.exitcode == -signal.SIGKILL


_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload([__name__])


def live(values: dict[str, Any], line: Connection) -> None:
    """The whole life of a server."""
    settings = settings_of(values)
    sock = bind(settings)
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(serve(settings, sock, lambda _server, _models: line.send(address_of(sock))))


async def ended(client: httpx.AsyncClient, address: str) -> dict[str, Any]:
    """The batch, when it has ended."""
    async with asyncio.timeout(120):
        # it is another process that ends it
        while (batch := (await client.get(address)).json())["processing_status"] != "ended":  # noqa: ASYNC110 - see above
            await asyncio.sleep(0.1)
    found: dict[str, Any] = batch
    return found


async def check(client: httpx.AsyncClient, batch: dict[str, Any], names: list[str]) -> None:
    """Every request has one result, the right one."""
    assert batch["request_counts"]["succeeded"] == len(names)
    text = (await client.get(batch["results_url"])).text
    lines = [msgspec.json.decode(line) for line in text.splitlines()]
    assert [line["custom_id"] for line in lines] == names
    for line in lines:
        assert line["result"]["message"]["content"][0]["text"] == f"echo {line['custom_id']}"


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_fifty_kills_lose_nothing_and_answer_nothing_twice(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    names = [[f"{batch}-{number}" for number in range(REQUESTS // 2)] for batch in "ab"]
    async with Echo(PER_LIFE) as engine, httpx.AsyncClient(timeout=30) as client:
        paths = []
        for life in range(KILLS):
            engine.left = PER_LIFE
            server = await asyncio.to_thread(Life, engine, tmp_path)
            if not life:
                for some in names:
                    made = await client.post(f"{server.url}/v1/messages/batches", json=batch_of(some))
                    paths.append(f"/v1/messages/batches/{made.json()['id']}")
            # at a moment anywhere from before the first request to after the last one of this life
            await asyncio.sleep(chance.uniform(0, 0.12))
            await asyncio.to_thread(server.kill)
        engine.left = 10 * REQUESTS
        with ExitStack() as stack:
            process = await start(stack, engine, tmp_path)
            for path, some in zip(paths, names, strict=True):
                await check(client, await ended(client, process.url + path), some)
        # the kills did meet work: what was in flight ran once more
        assert len(engine.chats) > REQUESTS


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_a_batch_whose_creation_is_killed_is_whole_or_not_there(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    names = [f"r{number}" for number in range(20)]
    body = msgspec.json.encode(batch_of(names))
    told = set()
    async with Echo(0) as engine, httpx.AsyncClient(timeout=60) as client:
        for _ in range(CREATIONS):
            server = await asyncio.to_thread(Life, engine, tmp_path)
            path = f"{server.url}/v1/messages/batches"
            making = [asyncio.create_task(post(client, path, body)) for _ in range(4)]
            await asyncio.sleep(chance.uniform(0, 0.04))
            await asyncio.to_thread(server.kill)
            told |= {batch for batch in await asyncio.gather(*making) if batch}
        engine.left = CREATIONS * 4 * len(names)
        with ExitStack() as stack:
            process = await start(stack, engine, tmp_path)
            found = (await client.get(f"{process.url}/v1/messages/batches?limit=1000")).json()["data"]
            # some creations were killed before they were answered, and some after that
            assert told <= {batch["id"] for batch in found}
            assert 0 < len(told) < 4 * CREATIONS
            for batch in found:
                address = f"{process.url}/v1/messages/batches/{batch['id']}"
                await check(client, await ended(client, address), names)


async def post(client: httpx.AsyncClient, path: str, body: bytes) -> str:
    """The id of the batch that was made; "" where the server did not live to tell."""
    try:
        made = await client.post(path, content=body, headers={"content-type": "application/json"})
    except httpx.TransportError:
        return ""
    batch: str = made.json()["id"]
    return batch


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.skipif(not Path("/proc/self").exists(), reason="the test finds the workers under /proc")
async def test_of_several_workers_one_runs_and_another_takes_over_when_it_is_killed(tmp_path: Path) -> None:
    names = [f"r{number}" for number in range(60)]
    async with Echo(20) as engine, httpx.AsyncClient(timeout=30) as client:
        with ExitStack() as stack:
            process = await start(stack, engine, tmp_path, "--workers", "2")
            made = await client.post(f"{process.url}/v1/messages/batches", json=batch_of(names))
            address = f"{process.url}/v1/messages/batches/{made.json()['id']}"
            await until(lambda: engine.left == 0)
            assert engine.most_at_once == 4
            for worker in workers_of(process):
                # the one that runs, or the one that waits: either may be the first
                os.kill(worker, signal.SIGKILL)
                engine.give(10)
                await until(lambda: engine.left == 0)
            for worker in workers_of(process):
                os.kill(worker, signal.SIGKILL)
            engine.give(1000)
            await check(client, await ended(client, address), names)


async def until(holds: Callable[[], object]) -> None:
    """Returns when something has come true."""
    async with asyncio.timeout(120):
        while not holds():  # noqa: ASYNC110 - it is another process that does it
            await asyncio.sleep(0.02)


def workers_of(process: Process) -> list[int]:
    """The worker processes: the parent's children that have the server's socket."""
    pid = process.popen.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    return [child for child in map(int, children) if b"spawn_main" in command_of(child)]


def command_of(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()
