"""Single measurements: one load, one session, one start, one decoding, by pinned programs."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

from bench import canned, processes, servers
from bench.check import check_answer
from bench.codec import Codec
from bench.engine import Stats
from bench.environments import Installed
from bench.load import Load
from bench.processes import BenchError
from bench.results import Run, Start
from bench.scenarios import Scenario
from bench.servers import Live, Server
from bench.session import Turn

HELPER_SECONDS = 400.0
COPIES = ("direct", "relay", "smg")


class EngineError(RuntimeError):
    """The canned engine is gone: nothing can be measured any more."""


class Engine(msgspec.Struct, frozen=True):
    """The canned engine while it runs, and what it can be told."""

    live: Live

    @property
    def url(self) -> str:
        """Where the servers find it."""
        return f"http://127.0.0.1:{self.live.port}"

    def answers(self, answer: str, pace_ms: float) -> None:
        """Says what the requests to come get."""
        self._get(f"/bench/mode?answer={answer}&pace_ms={pace_ms}")

    def stats(self) -> Stats:
        """How many paced streams ran at once since it was last told what to answer."""
        return msgspec.json.decode(self._get("/bench/stats"), type=Stats)

    def _get(self, target: str) -> bytes:
        try:
            return processes.get(self.url + target, timeout=10)
        except OSError as error:
            raise EngineError(f"the canned engine does not answer any more: {error}") from error


def check(engine: Engine, live: Live) -> None:
    """Raises unless the server gives every canned answer whole."""
    for answer in canned.ANSWERS.values():
        engine.answers(answer.name, 0)
        server = live.server
        check_answer(live.port, server.path, server.form, answer, copied=server.name in COPIES)


def load(engine: Engine, live: Live, scenario: Scenario) -> Run:
    """One load on one server: the CPU time that it spends, and what the client sees."""
    server, pid = live.server, live.running.pid
    engine.answers(scenario.answer, scenario.pace_ms)
    command = [
        *(sys.executable, "-m", "bench.load", "--port", str(live.port)),
        *("--path", server.path, "--form", server.form, "--body", scenario.body),
        *("--streams", str(scenario.streams), "--seconds", str(scenario.seconds)),
        *("--pace-ms", str(scenario.pace_ms)),
    ]
    before = processes.cpu_seconds(pid)
    seen = msgspec.json.decode(processes.output_of(command, processes.cores()[1], HELPER_SECONDS), type=Load)
    cpu_s = processes.cpu_seconds(pid) - before
    if seen.broken or not seen.streams:
        raise BenchError(f"{seen.broken} of {seen.broken + seen.streams} streams broken: {seen.why}")
    tokens = seen.streams * scenario.tokens
    return Run(
        server=server.name,
        scenario=scenario.name,
        cpu_s=cpu_s,
        cpu_us_per_token=cpu_s * 1e6 / tokens,
        cpu_us_per_request=cpu_s * 1e6 / seen.streams,
        tokens_per_s=tokens / seen.wall_s,
        load=seen,
    )


def session(engine: Engine, live: Live, turns: int) -> list[Turn]:
    """One session on one server."""
    engine.answers("short", 0)
    server = live.server
    command = [
        *(sys.executable, "-m", "bench.session", "--port", str(live.port), "--path", server.path),
        *("--form", server.form, "--pid", str(live.running.pid), "--turns", str(turns)),
    ]
    out = processes.output_of(command, processes.cores()[1], HELPER_SECONDS)
    return msgspec.json.decode(out, type=list[Turn])


def start(engine: Engine, server: Server, installed: Installed, folder: Path, many: Scenario | None) -> Start:
    """One start of one server, alone, and the memory that many live streams take."""
    with servers.started(server, installed, engine.url, folder) as live:
        pid = live.running.pid
        idle = processes.memory_mb(pid, "VmRSS")
        if many is None:
            return Start(server.name, live.running.start_s, idle, None, None)
        load(engine, live, many)
        most = engine.stats().most
        return Start(server.name, live.running.start_s, idle, processes.memory_mb(pid, "VmHWM"), most)


def codec(size: str) -> Codec:
    """Decoding and encoding of one request on the core of the servers under test."""
    command = [sys.executable, "-m", "bench.codec", "--body", size]
    return msgspec.json.decode(processes.output_of(command, processes.cores()[0], HELPER_SECONDS), type=Codec)
