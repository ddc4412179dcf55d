"""The shape of build/bench.json: what was found first, then everything that it comes from."""

from __future__ import annotations

import msgspec

from bench.codec import Codec
from bench.load import Load
from bench.scenarios import Scenario
from bench.session import Line, Turn


class Run(msgspec.Struct, frozen=True):
    """One load on one server: the CPU time that the server spent, and what the client saw."""

    server: str
    scenario: str
    cpu_s: float
    cpu_us_per_token: float
    cpu_us_per_request: float
    tokens_per_s: float
    load: Load


class Start(msgspec.Struct, frozen=True):
    """One start of one server: how long it took, and its memory before and after many live streams."""

    server: str
    start_s: float
    idle_mb: float
    live_mb: float | None
    most_at_once: int | None


class Failure(msgspec.Struct, frozen=True):
    """What a server could not do: the part of the benchmark, and the reason."""

    server: str
    part: str
    why: str


class Cell(msgspec.Struct, frozen=True):
    """One load on one server: medians of its runs; the first token also over that of the engine itself."""

    server: str
    scenario: str
    runs: int
    cpu_us_per_token: float
    cpu_us_per_request: float
    tokens_per_s: float
    first_token_ms: float | None
    first_token_over_direct_ms: float | None
    between_p50_ms: float | None
    between_p99_ms: float | None


class ServerFigures(msgspec.Struct, frozen=True):
    """One server by itself. `idle_mb` is resident after the start, `live_mb` the most with many live streams.

    `peak_mb` is the most over all loads, `resident_mb` what is left after them.
    """

    name: str
    what: str
    version: str
    start_s: float | None
    installed_mb: float | None
    packages: int | None
    idle_mb: float | None
    live_mb: float | None
    most_at_once: int | None
    resident_mb: float | None
    peak_mb: float | None


class Session(msgspec.Struct, frozen=True):
    """One agent's session on one server: medians of the sessions played.

    `line` goes through the first half of the turns; `growth` is the cost of the last ones over what it says.
    """

    server: str
    sessions: int
    first_us_per_kb: float
    last_us_per_kb: float
    first_turn_us: float
    last_turn_us: float
    line: Line
    growth: float
    turns: int
    costs: list[Turn]


class Target(msgspec.Struct, frozen=True):
    """One aim: what was found, what it must be, and whether it is; null where it was not measured."""

    name: str
    found: float | None
    limit: float
    unit: str
    met: bool | None
    words: str


class About(msgspec.Struct, frozen=True):
    """When, where and how the figures were found."""

    date: str
    machine: str
    seconds: float
    quick: bool
    load_average_before: float


class Report(msgspec.Struct, frozen=True):
    """All of it. The first figures are those of the scenario `headline`; null where a server failed."""

    cpu_us_per_token: dict[str, float | None]
    targets: list[Target]
    failures: list[Failure]
    about: About
    headline: str
    scenarios: list[Scenario]
    servers: list[ServerFigures]
    cells: list[Cell]
    sessions: list[Session]
    codec: Codec | None
    live_streams: int
    runs: list[Run] = []
    starts: list[Start] = []

    def cell(self, server: str, scenario: str) -> Cell | None:
        """The figures of one load on one server."""
        found = (cell for cell in self.cells if (cell.server, cell.scenario) == (server, scenario))
        return next(found, None)

    def server(self, name: str) -> ServerFigures | None:
        """The figures of one server by itself."""
        return next((server for server in self.servers if server.name == name), None)
