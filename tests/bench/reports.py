"""Reports for the tests of what is said about them."""

from __future__ import annotations

import msgspec

from bench.codec import Codec
from bench.results import About, Cell, Report, ServerFigures, Session
from bench.scenarios import SCENARIOS
from bench.session import Line


def cell(server: str, scenario: str, cpu: float = 1.0, first: float | None = 1.0) -> Cell:
    """A cell with a cost per token and a wait for the first one."""
    return Cell(
        server=server,
        scenario=scenario,
        runs=3,
        cpu_us_per_token=cpu,
        cpu_us_per_request=cpu * 1000,
        tokens_per_s=1000.0,
        first_token_ms=first,
        first_token_over_direct_ms=first,
        between_p50_ms=20.0,
        between_p99_ms=21.0,
    )


def server(name: str, live_mb: float | None = 100.0, at_once: int | None = 1000) -> ServerFigures:
    """A server with the memory that its live streams took."""
    return ServerFigures(name, "what it is", "1.0", 0.3, 60.0, 27, 40.0, live_mb, at_once, 50.0, 120.0)


def session(growth: float = 1.0) -> Session:
    """A session of Dragoman's whose last turns cost so many times what their bytes explain."""
    return Session("dragoman", 3, 10.0, 5.0, 400.0, 900.0, Line(300.0, 4.0), growth, 200, [])


def report(**changes: object) -> Report:
    """A report in which every target is met, but for what is changed."""
    cells = [
        cell("direct", "mixed-1", first=0.5),
        cell("dragoman", "mixed-1", first=1.5),
        cell("dragoman", "mixed-32", cpu=2.0),
        cell("relay", "mixed-32", cpu=1.5),
        cell("dragoman", "1MB-1", cpu=2.5),
    ]
    good = Report(
        cpu_us_per_token={"dragoman": 2.0, "relay": 1.5, "smg": 2.5, "litellm": 300.0},
        targets=[],
        failures=[],
        about=About("2026-01-02", "two shared cores", 12.3, False, 0.5),
        headline="mixed-32",
        scenarios=[one for one in SCENARIOS if one.name in {"mixed-1", "mixed-32", "1MB-1", "paced-1"}],
        servers=[server("direct"), server("dragoman"), server("relay", at_once=None)],
        cells=cells,
        sessions=[session()],
        codec=Codec("1MB", 1_000_000, 600.0, 400.0),
        live_streams=1000,
    )
    return msgspec.structs.replace(good, **changes)
