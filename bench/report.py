"""The report: medians of what was measured, and the targets held against them."""

from __future__ import annotations

import datetime as dt
import platform
import statistics
from collections.abc import Iterable, Iterator

import msgspec

from bench import session as sessions
from bench import targets
from bench.results import About, Cell, Report, Run, ServerFigures, Session
from bench.runner import Found, Plan
from bench.scenarios import HEADLINE, Scenario
from bench.servers import DIRECT, WHAT
from bench.session import Turn

# How many turns the first and the last of a session are.
ENDS = 20


def make(plan: Plan, found: Found, about: About) -> Report:
    """The report on what was found."""
    servers = [name for name in WHAT if name in (DIRECT, *plan.peers)]
    cells = [cell for scenario in plan.scenarios for cell in cells_of(scenario, servers, found.runs)]
    headline = HEADLINE if any(one.name == HEADLINE for one in plan.scenarios) else plan.scenarios[0].name
    figures = {cell.server: round(cell.cpu_us_per_token, 3) for cell in cells if cell.scenario == headline}
    report = Report(
        cpu_us_per_token={name: figures.get(name) for name in plan.peers},
        targets=[],
        failures=found.failures,
        about=about,
        headline=headline,
        scenarios=list(plan.scenarios),
        servers=[server_figures(name, found) for name in servers],
        cells=cells,
        sessions=[session_of(name, played) for name, played in found.sessions.items()],
        codec=found.codec,
        live_streams=plan.live.streams,
        runs=found.runs,
        starts=found.starts,
    )
    return msgspec.structs.replace(report, targets=targets.evaluate(report))


def cells_of(scenario: Scenario, servers: list[str], runs: list[Run]) -> Iterator[Cell]:
    """The medians of one load, a cell for each server that did it."""
    direct: float | None = None
    for server in servers:
        same = [run for run in runs if (run.server, run.scenario) == (server, scenario.name)]
        if not same:
            continue
        first = median(run.load.first_token_ms for run in same)
        direct = first if server == DIRECT else direct
        yield Cell(
            server=server,
            scenario=scenario.name,
            runs=len(same),
            cpu_us_per_token=statistics.median(run.cpu_us_per_token for run in same),
            cpu_us_per_request=statistics.median(run.cpu_us_per_request for run in same),
            tokens_per_s=statistics.median(run.tokens_per_s for run in same),
            first_token_ms=first,
            first_token_over_direct_ms=None if first is None or direct is None else first - direct,
            between_p50_ms=median(run.load.between_p50_ms for run in same),
            between_p99_ms=median(run.load.between_p99_ms for run in same),
        )


def median(values: Iterable[float | None]) -> float | None:
    """The median of the values that are there."""
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def server_figures(name: str, found: Found) -> ServerFigures:
    """What is known about one server by itself."""
    starts = [start for start in found.starts if start.server == name]
    installed = found.installed.get(name)
    # the relay runs in Dragoman's environment: it has no size of its own
    packed = installed if installed is not None and installed.packages and name != "relay" else None
    resident, peak = found.memory.get(name, (None, None))
    return ServerFigures(
        name=name,
        what=WHAT[name],
        version=installed.version if installed is not None and name not in (DIRECT, "relay") else "",
        start_s=median(start.start_s for start in starts),
        installed_mb=packed.mb if packed else None,
        packages=packed.packages if packed else None,
        idle_mb=median(start.idle_mb for start in starts),
        live_mb=median(start.live_mb for start in starts),
        most_at_once=min(
            (start.most_at_once for start in starts if start.most_at_once is not None), default=None
        ),
        resident_mb=resident,
        peak_mb=peak,
    )


def session_of(server: str, played: list[list[Turn]]) -> Session:
    """The figures of one server's sessions."""
    turns = sessions.medians(played)
    ends = min(ENDS, len(turns) // 4)
    first, last = turns[:ends], turns[-ends:]
    return Session(
        server=server,
        sessions=len(played),
        first_us_per_kb=sessions.us_per_kb(first),
        last_us_per_kb=sessions.us_per_kb(last),
        first_turn_us=statistics.median(turn.cpu_us for turn in first),
        last_turn_us=statistics.median(turn.cpu_us for turn in last),
        line=sessions.line_through(turns[: len(turns) // 2]),
        growth=sessions.growth(turns, ends),
        turns=len(turns),
        costs=turns,
    )


def about(now: dt.datetime, started: dt.datetime, *, cores: str, quick: bool, load: float) -> About:
    """When, where and how a run was done."""
    return About(
        date=started.date().isoformat(),
        machine=f"{cores}, {platform.machine()}, Python {platform.python_version()}",
        seconds=round((now - started).total_seconds(), 1),
        quick=quick,
        load_average_before=round(load, 2),
    )
