"""The report and its tables: medians, one row for every load, a word for whatever is missing."""

from __future__ import annotations

import io

import msgspec
import pytest
from rich.console import Console

from bench import report as reporting
from bench import tables
from bench.load import Load
from bench.results import About, Failure, Report, Run, Start
from bench.runner import Found, Plan
from bench.scenarios import LIVE, SCENARIOS, Scenario
from bench.session import Turn
from tests.bench.reports import report

ONE = Scenario("mixed-32", 32, "mixed")
ABOUT = About("2026-01-02", "two cores", 1.0, False, 0.0)


def run(server: str, cpu: float, first: float | None = 1.0) -> Run:
    """One run with a cost per token and a wait for the first one."""
    load = Load(10, 0, "", 1.0, 100, first, None, None)
    return Run(server, ONE.name, cpu, cpu, cpu * 512, 100.0, load)


def made(found: Found) -> Report:
    """The report on what was found for one load on two servers."""
    return reporting.make(Plan(("dragoman", "relay"), (ONE,), LIVE), found, ABOUT)


def test_cells_are_medians() -> None:
    found = Found()
    found.runs = [run("direct", 9.0, 2.0), *(run("dragoman", cpu, cpu) for cpu in (5.0, 3.0, 40.0))]
    cell = made(found).cell("dragoman", ONE.name)
    assert cell is not None
    assert (cell.runs, cell.cpu_us_per_token, cell.first_token_ms) == (3, 5.0, 5.0)
    assert cell.first_token_over_direct_ms == 3.0
    assert (cell.between_p50_ms, cell.between_p99_ms) == (None, None)


def test_the_first_figures_are_those_of_the_headline() -> None:
    found = Found()
    found.runs = [run("dragoman", 5.0)]
    assert made(found).cpu_us_per_token == {"dragoman": 5.0, "relay": None}


def test_over_direct_is_unknown_without_direct() -> None:
    found = Found()
    found.runs = [run("relay", 5.0)]
    cell = made(found).cell("relay", ONE.name)
    assert cell is not None
    assert cell.first_token_over_direct_ms is None


def test_starts_are_medians_and_the_fewest_live_streams_count() -> None:
    found = Found()
    found.starts = [
        Start("relay", 0.3, 40.0, 90.0, 1000),
        Start("relay", 0.1, 41.0, 80.0, 990),
        Start("relay", 0.2, 45.0, None, None),
    ]
    found.memory = {"relay": (50.0, 99.0)}
    server = made(found).server("relay")
    assert server is not None
    assert (server.start_s, server.idle_mb, server.live_mb, server.most_at_once) == (0.2, 41.0, 85.0, 990)
    assert (server.resident_mb, server.peak_mb) == (50.0, 99.0)


def test_a_session_has_its_ends_and_its_line() -> None:
    found = Found()
    found.sessions = {"relay": [[Turn(1000 * number, 100.0 + number) for number in range(1, 81)]] * 3}
    session = made(found).sessions[0]
    assert (session.sessions, session.turns, len(session.costs)) == (3, 80, 80)
    assert session.first_turn_us == 110.5
    assert session.last_turn_us == 170.5
    assert session.growth == pytest.approx(1.0)


def test_reports_survive_being_written() -> None:
    assert msgspec.json.decode(msgspec.json.encode(report()), type=Report) == report()


def test_every_load_has_a_row_and_every_failure_its_reason() -> None:
    broken = report(failures=[Failure("litellm", "check", "did not start: no luck")])
    sheets = {sheet.title: sheet for sheet in tables.sheets(broken)}
    per_token = sheets["CPU per token, us, at full speed"]
    assert [row[0] for row in per_token.rows] == [one.words for one in broken.scenarios if not one.pace_ms]
    assert per_token.header[1:] == ["dragoman", "relay"]
    assert per_token.rows[0] == ["32 streams of 512, 1 KB", "2.00", "1.50"]
    assert per_token.rows[1] == ["1 stream of 512, 1 KB", "1.00", "failed"]
    assert sheets["Failed"].rows == [["litellm", "check", "did not start: no luck"]]


def test_a_load_that_ran_once_says_so() -> None:
    cells = [msgspec.structs.replace(cell, runs=1) for cell in report().cells]
    sheets = {sheet.title: sheet for sheet in tables.sheets(report(cells=cells))}
    assert sheets["CPU per token, us, at full speed"].rows[0][1] == "2.00*"


@pytest.mark.parametrize(
    ("value", "words"),
    [(None, "-"), (0.123, "0.12"), (9.876, "9.88"), (12.34, "12.3"), (1234.5, "1,234"), (-150.0, "-150")],
)
def test_numbers_have_three_digits_or_so(value: float | None, words: str) -> None:
    assert tables.number(value) == words


def test_the_tables_fit_a_terminal() -> None:
    console = Console(record=True, width=200, file=io.StringIO())
    full = report(scenarios=list(SCENARIOS), failures=[Failure("smg", "check", "many words " * 30)])
    tables.show(full, console)
    lines = console.export_text().splitlines()
    assert max(map(len, lines)) <= tables.WIDTH
    assert any("two shared cores" in line for line in lines)
