"""The course of the benchmark: every load on every server in turn, so a busy moment meets all of them."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TypeVar

import msgspec

from bench import bodies, measure, processes, servers
from bench.codec import Codec
from bench.environments import Installed
from bench.measure import Engine
from bench.processes import BenchError
from bench.results import Failure, Run, Start
from bench.scenarios import Scenario
from bench.servers import DIRECT, ENGINE, SERVERS, Live
from bench.session import Turn

WARM_UP = Scenario("warm-up", 8, "mixed", seconds=0.5)
# A server that takes longer than this for one run of a load is measured once there.
LONG_RUN_SECONDS = 30.0
# What a measurement on one server may end with, without ending those on the others.
FAULTS = (BenchError, OSError, msgspec.MsgspecError)

Made = TypeVar("Made")


class Plan(msgspec.Struct, frozen=True):
    """What is to be measured: the servers, the loads, how many starts, sessions and turns."""

    peers: tuple[str, ...]
    scenarios: tuple[Scenario, ...]
    live: Scenario
    starts: int = 3
    sessions: int = 3
    turns: int = bodies.SESSION_TURNS
    large: str = "1MB"
    here: bool = False


class Found:
    """What was measured so far, and what failed."""

    def __init__(self) -> None:
        self.installed: dict[str, Installed] = {}
        self.starts: list[Start] = []
        self.runs: list[Run] = []
        self.sessions: dict[str, list[list[Turn]]] = {}
        # resident now and at most, in MB, after all loads
        self.memory: dict[str, tuple[float, float]] = {}
        self.codec: Codec | None = None
        self.failures: list[Failure] = []

    def attempt(self, server: str, part: str, work: Callable[[], Made]) -> Made | None:
        """What the work makes; a failure is noted with its reason, and the others go on."""
        try:
            return work()
        except FAULTS as error:
            why = " ".join(str(error).split()) or type(error).__name__
            self.failures.append(Failure(server, part, why))
            return None

    def failed(self, server: str, part: str) -> bool:
        """Whether this server has failed at this part."""
        return any((failure.server, failure.part) == (server, part) for failure in self.failures)


class Bench:
    """One run of the benchmark; `say` is told what is being done."""

    def __init__(self, plan: Plan, say: Callable[[str], None]) -> None:
        self.plan = plan
        self.found = Found()
        self._say = say

    def run(self) -> Found:
        """Measures all of the plan."""
        self._install()
        with ExitStack() as stack:
            self._folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            direct = stack.enter_context(
                servers.started(ENGINE, self.found.installed[DIRECT], "", self._folder)
            )
            self._engine = Engine(direct)
            self._starts()
            live = [direct, *self._started_together(stack)]
            for scenario in self.plan.scenarios:
                self._loads(scenario, live)
            self._sessions(live[1:])
            self._memory(live[1:])
            self._codec()
        return self.found

    def _install(self) -> None:
        for name in (DIRECT, *self.plan.peers):
            self._say(f"environment of {name}")
            installed = self.found.attempt(name, "install", partial(self._installed, name))
            if installed is not None:
                self.found.installed[name] = installed

    def _installed(self, name: str) -> Installed:
        return servers.installed_for(name, self.plan.here)

    def _new_folder(self) -> Path:
        return Path(tempfile.mkdtemp(dir=self._folder))

    def _starts(self) -> None:
        slow: set[str] = set()
        for number in range(self.plan.starts):
            for name in list(self.found.installed)[1:]:
                self._say(f"start {number + 1} of {name}, {self.plan.live.streams} live streams")
                live = None if name in slow else self.plan.live
                started = time.monotonic()
                start = self.found.attempt(name, "start and live streams", partial(self._start, name, live))
                if start is not None:
                    self.found.starts.append(start)
                if time.monotonic() - started > LONG_RUN_SECONDS:
                    slow.add(name)

    def _start(self, name: str, live: Scenario | None) -> Start:
        installed, folder = self.found.installed[name], self._new_folder()
        return measure.start(self._engine, SERVERS[name], installed, folder, live)

    def _started_together(self, stack: ExitStack) -> Iterator[Live]:
        for name in list(self.found.installed)[1:]:
            self._say(f"check of {name}")
            live = self.found.attempt(name, "check", partial(self._checked, name, stack))
            if live is not None:
                yield live

    def _checked(self, name: str, stack: ExitStack) -> Live:
        installed, folder = self.found.installed[name], self._new_folder()
        live = stack.enter_context(servers.started(SERVERS[name], installed, self._engine.url, folder))
        measure.check(self._engine, live)
        measure.load(self._engine, live, WARM_UP)
        return live

    def _loads(self, scenario: Scenario, live: list[Live]) -> None:
        going = {one.server.name: one for one in live}
        for number in range(scenario.runs):
            for name, one in list(going.items()):
                self._say(f"{scenario.name}, run {number + 1} of {scenario.runs}, {name}")
                started = time.monotonic()
                run = self.found.attempt(
                    name, scenario.name, partial(measure.load, self._engine, one, scenario)
                )
                if run is not None:
                    self.found.runs.append(run)
                if run is None or time.monotonic() - started > LONG_RUN_SECONDS:
                    del going[name]

    def _sessions(self, live: list[Live]) -> None:
        for number in range(self.plan.sessions):
            for one in live:
                name = one.server.name
                self._say(f"session {number + 1} of {self.plan.turns} turns, {name}")
                turns = self.found.attempt(
                    name, "session", partial(measure.session, self._engine, one, self.plan.turns)
                )
                if turns is not None:
                    self.found.sessions.setdefault(name, []).append(turns)

    def _memory(self, live: list[Live]) -> None:
        for one in live:
            name = one.server.name
            sizes = self.found.attempt(name, "memory", partial(memory_of, one))
            if sizes is not None:
                self.found.memory[name] = sizes

    def _codec(self) -> None:
        self._say("decoding and encoding")
        self.found.codec = self.found.attempt(
            "dragoman", "decoding and encoding", partial(measure.codec, self.plan.large)
        )


def memory_of(live: Live) -> tuple[float, float]:
    """Memory of a server in MB: resident now, and at most so far."""
    pid = live.running.pid
    return processes.memory_mb(pid, "VmRSS"), processes.memory_mb(pid, "VmHWM")
