"""The tables of a report: rows of words, shown by rich in a terminal and as Markdown in the docs."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec
from rich.console import Console
from rich.table import Table

from bench.results import Cell, Report, Target
from bench.scenarios import Scenario
from bench.servers import DIRECT

NOTHING = "-"
FAILED = "failed"
WIDTH = 100


class Sheet(msgspec.Struct, frozen=True):
    """One table: a title, a header, and rows of words; the first column names the row."""

    title: str
    header: list[str]
    rows: list[list[str]]


def sheets(report: Report) -> Iterator[Sheet]:
    """All tables of a report."""
    yield targets(report)
    full = [one for one in report.scenarios if not one.pace_ms]
    paced = [one for one in report.scenarios if one.pace_ms]
    under_test = [server.name for server in report.servers if server.name != DIRECT]
    everyone = [DIRECT, *under_test]

    def sheet(title: str, rows: list[Scenario], columns: list[str], figure: Callable[[Cell], str]) -> Sheet:
        return by_load(report, title, rows, columns, figure)

    yield sheet("CPU per token, us, at full speed", full, under_test, lambda c: number(c.cpu_us_per_token))
    yield sheet(
        "CPU per request, us, at full speed", full, under_test, lambda c: number(c.cpu_us_per_request)
    )
    yield sheet(
        "CPU per token, us, at 50 tokens a second", paced, under_test, lambda c: number(c.cpu_us_per_token)
    )
    yield sheet("Time to the first token, ms: direct, and over direct", full + paced, everyone, first_token)
    yield sheet("Between tokens at 50 a second, ms: p99", paced, everyone, lambda c: number(c.between_p99_ms))
    yield servers(report)
    yield session(report)
    if report.failures:
        yield failures(report)


def by_load(
    report: Report, title: str, scenarios: list[Scenario], columns: list[str], figure: Callable[[Cell], str]
) -> Sheet:
    """One figure of every load on every server."""

    def word(server: str, scenario: Scenario) -> str:
        cell = report.cell(server, scenario.name)
        if cell is None:
            return FAILED
        once = "*" if cell.runs < min(3, scenario.runs) else ""
        return figure(cell) + once

    rows = [[one.words, *(word(server, one) for server in columns)] for one in scenarios]
    return Sheet(title, ["load: streams, tokens, request", *columns], rows)


def first_token(cell: Cell) -> str:
    """The wait for the first token: that of the engine itself, or what a server adds to it."""
    return number(cell.first_token_ms if cell.server == DIRECT else cell.first_token_over_direct_ms)


def number(value: float | None) -> str:
    """A figure with three digits or so."""
    if value is None:
        return NOTHING
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def targets(report: Report) -> Sheet:
    """What was aimed at, and what was found."""
    rows = [
        [one.name, found_words(one), limit_words(one), met_words(one), one.words] for one in report.targets
    ]
    return Sheet("Targets", ["", "found", "target", "met", "from"], rows)


def found_words(target: Target) -> str:
    """What was found, with its unit."""
    return NOTHING if target.found is None else f"{number(target.found)} {target.unit}"


def limit_words(target: Target) -> str:
    """What must be kept, with its unit."""
    return f"{number(target.limit)} {target.unit}"


def met_words(target: Target) -> str:
    """Whether a target is met, in a word."""
    return {True: "yes", False: "no", None: "not measured"}[target.met]


def servers(report: Report) -> Sheet:
    """The servers by themselves: start, size, memory."""
    live = f"{report.live_streams:,} live"
    header = ["", "start s", "size MB", "packages", "idle MB", f"{live} MB", "at once", "most MB"]
    rows = [
        [
            f"{one.name} {one.version}".strip(),
            number(one.start_s),
            number(one.installed_mb),
            NOTHING if one.packages is None else str(one.packages),
            number(one.idle_mb),
            number(one.live_mb),
            NOTHING if one.most_at_once is None else f"{one.most_at_once:,}",
            number(one.peak_mb),
        ]
        for one in report.servers
        if one.name != DIRECT
    ]
    return Sheet(
        f"Start, installed size, memory (at the start, with {live} streams, over all loads)", header, rows
    )


def session(report: Report) -> Sheet:
    """An agent's session: what its turns cost."""
    turns = max((one.turns for one in report.sessions), default=0)
    header = ["", "first us", "last us", "first us/KB", "last us/KB", "fixed us", "us/KB", "last/line"]
    rows = [
        [
            one.server,
            *map(number, (one.first_turn_us, one.last_turn_us, one.first_us_per_kb, one.last_us_per_kb)),
            *map(number, (one.line.fixed_us, one.line.us_per_kb, one.growth)),
        ]
        for one in report.sessions
    ]
    return Sheet(
        f"A session of {turns} turns: CPU per turn, first and last 20; line through the first half",
        header,
        rows,
    )


def failures(report: Report) -> Sheet:
    """What failed, and why."""
    rows = [[one.server, one.part, one.why] for one in report.failures]
    return Sheet("Failed", ["server", "at", "why"], rows)


def show(report: Report, console: Console) -> None:
    """Prints all tables, not wider than a terminal."""
    console.width = min(console.width, WIDTH) if console.is_terminal else WIDTH
    for sheet in sheets(report):
        table = Table(*sheet.header, title=sheet.title, title_justify="left", title_style="bold")
        for column in table.columns[1:]:
            column.justify = "left" if sheet.header[-1] in {"from", "why"} else "right"
        for row in sheet.rows:
            table.add_row(*row)
        console.print(table)
    about = report.about
    console.print(f"{about.date}, {about.machine}; {about.seconds:.0f} s. * one run only: it took too long")


def markdown(sheet: Sheet) -> str:
    """A table for a page."""
    lines = [sheet.header, ["---", *("---:" for _ in sheet.header[1:])], *sheet.rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines) + "\n"
