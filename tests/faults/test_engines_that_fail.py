"""Real engine processes that are killed, stopped, slowed and made to talk garbage, under many streams.

`FAULT_SECONDS` and `FAULT_SESSIONS` make it longer and wider; `make faults`: five minutes, 200 sessions.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx
import pytest

from dragoman.engines.remote import RemoteInferenceEngine
from dragoman.routing.client import InferenceEngineClient
from dragoman.settings import EngineEntry, load_settings
from tests.support.serving import running_server

SECONDS = float(os.environ.get("FAULT_SECONDS", "20"))
SESSIONS = int(os.environ.get("FAULT_SESSIONS", "40"))
ENGINE = Path(__file__).with_name("engine.py")
LENGTH = 150
TABLES: dict[str, dict[str, float]] = {
    "timeouts": {"connect": 1.0, "first_byte": 3.0, "between_bytes": 1.5, "probe": 1.0},
    "limits": {"engine_connections": 2 * SESSIONS},
    "routing": {"retries": 6, "retry_share": 1.0, "breaker_failures": 3, "breaker_seconds": 1.0},
}


class EngineProcess:
    """One engine, and what can be done to it; its port stays the same."""

    def __init__(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        """Starts it."""
        self.process = subprocess.Popen([sys.executable, str(ENGINE), str(self.port)])

    def end(self) -> None:
        """Ends it for good."""
        self.process.kill()
        self.process.wait()

    async def until_up(self) -> None:
        """Waits until it answers."""
        async with httpx.AsyncClient() as client, asyncio.timeout(20):
            while True:
                with suppress(httpx.HTTPError):
                    await client.get(f"{self.url}/health")
                    return
                await asyncio.sleep(0.05)

    async def killed(self) -> None:
        """Killed in the middle of everything, and started again."""
        self.end()
        await asyncio.sleep(0.3)
        self.start()
        await self.until_up()

    async def stopped(self) -> None:
        """Stopped for longer than anybody waits for it."""
        os.kill(self.process.pid, signal.SIGSTOP)
        await asyncio.sleep(2.5)
        os.kill(self.process.pid, signal.SIGCONT)

    async def slowed(self) -> None:
        """Slow for a while."""
        await self.behave(delay=0.2)
        await asyncio.sleep(1.5)
        await self.behave(delay=0.01)

    async def garbling(self) -> None:
        """Answering what is no answer for a while."""
        await self.behave(garbage=True)
        await asyncio.sleep(1.0)
        await self.behave(garbage=False)

    async def behave(self, **state: object) -> None:
        """Changes how it behaves."""
        async with httpx.AsyncClient() as client:
            await client.post(f"{self.url}/chaos", json=state, timeout=5)


@asynccontextmanager
async def three_engines() -> AsyncIterator[list[EngineProcess]]:
    engines = [EngineProcess() for _ in range(3)]
    try:
        for engine in engines:
            await engine.until_up()
        yield engines
    finally:
        for engine in engines:
            engine.end()


async def harm(engines: list[EngineProcess], until: float, seeded: random.Random) -> Counter[str]:
    """One fault after the other, each on one engine: two are well at any time."""
    done: Counter[str] = Counter()
    while asyncio.get_running_loop().time() < until:
        engine = seeded.choice(engines)
        how = seeded.choice(["killed", "stopped", "slowed", "garbling"])
        await getattr(engine, how)()
        done[how] += 1
        await asyncio.sleep(seeded.uniform(0.1, 0.5))
    return done


async def session(client: httpx.AsyncClient, number: int, until: float) -> list[str]:
    """Answers of one session, one after the other: what each was, "" where it was whole."""
    outcomes = []
    while asyncio.get_running_loop().time() < until:
        body = {
            "model": "counter",
            "max_tokens": 4000,
            "stream": True,
            "messages": [{"role": "user", "content": f"Session {number}: count to {LENGTH}"}],
        }
        headers = {"x-session-id": f"session {number}"}
        async with client.stream("POST", "/v1/messages", json=body, headers=headers) as stream:
            text = (await stream.aread()).decode()
        outcomes.append(verdict(stream.status_code, text))
    return outcomes


EXPECTED = " ".join(str(number) for number in range(1, LENGTH + 1))


def verdict(status: int, text: str) -> str:
    """What is wrong with an answer; "" for nothing."""
    said = "".join(re.findall(r'"type":"text_delta","text":"([^"]*)"', text))
    if status != 200:
        return f"status {status}: {text[:200]}"
    if "event: error" in text:
        return f"error after {len(said.split())} numbers: {text[text.index('event: error') :][:300]}"
    if said != EXPECTED:
        return f"the numbers are not those: {said[:2000]}"
    usage = re.findall(r'"output_tokens":(\d+)', text)
    return "" if usage[-1:] == [str(LENGTH)] else f"usage {usage[-1:]}"


@pytest.mark.slow
@pytest.mark.timeout(SECONDS * 2 + 120)
async def test_no_client_sees_an_engine_fail() -> None:
    async with three_engines() as processes:
        entries = [
            EngineEntry(url=engine.url, name=str(n), dialect="vllm", models=("counter",))
            for n, engine in enumerate(processes)
        ]
        settings = load_settings(environ={}, flags=TABLES)
        engines = [RemoteInferenceEngine(entry, settings.timeouts, settings.limits) for entry in entries]
        with running_server(InferenceEngineClient(engines, settings), **TABLES) as url:
            until = asyncio.get_running_loop().time() + SECONDS
            connections = httpx.Limits(max_connections=2 * SESSIONS)
            async with httpx.AsyncClient(base_url=url, timeout=120, limits=connections) as http:
                sessions = [asyncio.create_task(session(http, n, until)) for n in range(SESSIONS)]
                harmed = await harm(processes, until, random.Random(7))
                outcomes = [outcome for each in await asyncio.gather(*sessions) for outcome in each]
                metrics = (await http.get("/metrics")).text
    wrong = [outcome for outcome in outcomes if outcome]
    print(f"{len(outcomes)} answers, {len(wrong)} wrong; faults: {dict(harmed)}")
    print(
        *(line for line in metrics.splitlines() if "engine_errors" in line or "continued_" in line), sep="\n"
    )
    assert wrong == []
    assert len(outcomes) >= SESSIONS
    causes = set(re.findall(r'dragoman_engine_errors_total{cause="(\w+)"', metrics))
    assert {"lost", "timeout"} <= causes
    assert 'how="text"' in metrics
    assert 'how="no"' not in metrics
