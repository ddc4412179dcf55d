"""The benchmark's page in the docs: its tables from the committed figures, and the taking of new ones."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from bench import tables
from bench.processes import ROOT
from bench.results import Report
from bench.servers import PEERS

MEASURED = ROOT / "build" / "bench.json"
FIGURES = ROOT / "docs" / "benchmark.json"


def trimmed(report: Report) -> Report:
    """The report without its single runs: what the page is made from."""
    sessions = [msgspec.structs.replace(session, costs=[]) for session in report.sessions]
    return msgspec.structs.replace(report, runs=[], starts=[], sessions=sessions)


def taken(measured: bytes) -> bytes:
    """The figures to commit; raises `ValueError` for those that mean nothing."""
    report = msgspec.json.decode(measured, type=Report)
    if report.about.quick:
        raise ValueError("these figures are of a quick run, they mean nothing")
    if missing := [name for name in PEERS if name not in report.cpu_us_per_token]:
        raise ValueError(f"{missing[0]} was not measured")
    return msgspec.json.format(msgspec.json.encode(trimmed(report))) + b"\n"


def page(figures: Path = FIGURES) -> str:
    """All tables of the committed figures, with when and where they were measured."""
    report = msgspec.json.decode(figures.read_bytes(), type=Report)
    about = report.about
    parts = [f"### {sheet.title}\n\n{tables.markdown(sheet)}" for sheet in tables.sheets(report)]
    when = (
        f"Measured on {about.date} on {about.machine}; load average before: {about.load_average_before:g}.\n"
    )
    return "\n".join(["", when, *parts, ""])


PARTS: dict[str, Callable[[], str]] = {"benchmark": page}


def main(arguments: list[str] | None = None) -> int:
    """Takes the figures of a run over into the docs."""
    parser = argparse.ArgumentParser(prog="bench.page", description=__doc__)
    parser.add_argument("--measured", type=Path, default=MEASURED, help="what `make bench` wrote")
    parser.add_argument("--figures", type=Path, default=FIGURES, help="where the page has its figures from")
    options = parser.parse_args(arguments)
    try:
        options.figures.write_bytes(taken(options.measured.read_bytes()))
    except (OSError, ValueError, msgspec.MsgspecError) as error:
        print(f"no figures taken: {error}", file=sys.stderr)
        return 1
    print(f"written to {options.figures}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
