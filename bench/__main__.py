"""Runs the benchmark: `python -m bench`. Writes build/bench.json and prints its tables."""

from __future__ import annotations

import argparse
import datetime as dt
import os
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
from rich.console import Console

from bench import processes, report, tables
from bench.measure import EngineError
from bench.results import Failure
from bench.runner import Bench, Plan
from bench.scenarios import LIVE, SCENARIOS, Scenario
from bench.servers import DIRECT, OURS, PEERS

OUTPUT = processes.ROOT / "build" / "bench.json"
QUICK = {"starts": 1, "sessions": 1, "turns": 40}
QUICK_STREAMS, QUICK_SECONDS = 64, 0.2
QUICK_LIVE = msgspec.structs.replace(LIVE, streams=50, pace_ms=20.0)


def options_of(arguments: list[str]) -> argparse.Namespace:
    """The options of a call."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    add = parser.add_argument
    add("--peers", type=names_in(PEERS), default=PEERS, help=f"servers, by comma (default {','.join(PEERS)})")
    known = tuple(scenario.name for scenario in SCENARIOS)
    add("--scenarios", type=names_in(known), default=known, help=f"loads, by comma, of {','.join(known)}")
    add("--runs", type=int, help="runs of each load, starts and sessions (default 3, and 5 for two loads)")
    add(
        "--quick",
        action="store_true",
        help="once and short: it shows that all works, its figures mean little",
    )
    add("--here", action="store_true", help="run Dragoman and the relay from this environment")
    cores = f"{len(os.sched_getaffinity(0))} cores"
    add("--machine", default=cores, help=f"the machine in words, for the report (default {cores})")
    add("--output", type=Path, default=OUTPUT, help="where the figures go (build/bench.json)")
    return parser.parse_args(arguments)


def names_in(known: tuple[str, ...]) -> Callable[[str], tuple[str, ...]]:
    """Reads names in a list by comma, each of which must be known."""

    def names(text: str) -> tuple[str, ...]:
        found = tuple(text.split(","))
        if unknown := [name for name in found if name not in known]:
            raise argparse.ArgumentTypeError(f"{unknown[0]} is none of {', '.join(known)}")
        return found

    return names


def plan_of(options: argparse.Namespace) -> Plan:
    """What these options ask to be measured."""
    chosen = [shaped(one, options) for one in SCENARIOS if one.name in options.scenarios]
    plan = Plan(tuple(options.peers), tuple(chosen), LIVE, here=options.here)
    if options.runs:
        plan = msgspec.structs.replace(plan, starts=options.runs, sessions=options.runs)
    return msgspec.structs.replace(plan, live=QUICK_LIVE, **QUICK) if options.quick else plan


def shaped(scenario: Scenario, options: argparse.Namespace) -> Scenario:
    """A load as these options want it."""
    runs = options.runs or (1 if options.quick else scenario.runs)
    if not options.quick:
        return msgspec.structs.replace(scenario, runs=runs)
    streams, answer = min(scenario.streams, QUICK_STREAMS), "brief" if scenario.pace_ms else scenario.answer
    return msgspec.structs.replace(scenario, streams=streams, answer=answer, seconds=QUICK_SECONDS, runs=runs)


def main(arguments: list[str] | None = None) -> int:
    """Measures, writes and prints; 1 when one of our own servers failed."""
    options = options_of(sys.argv[1:] if arguments is None else arguments)
    processes.allow_many_files()
    load, started = os.getloadavg()[0], now()
    plan = plan_of(options)
    console = Console(stderr=True)
    try:
        with console.status("") as status:
            found = Bench(plan, status.update).run()
    except EngineError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    made = report.make(
        plan, found, report.about(now(), started, cores=options.machine, quick=options.quick, load=load)
    )
    options.output.parent.mkdir(exist_ok=True)
    options.output.write_bytes(msgspec.json.format(msgspec.json.encode(made)) + b"\n")
    tables.show(made, Console())
    print(f"written to {options.output}")
    return status_of(made.failures)


def status_of(failures: list[Failure]) -> int:
    """0 when all that is ours worked, whatever the others did."""
    return 1 if any(failure.server in (DIRECT, *OURS) for failure in failures) else 0


def now() -> dt.datetime:
    """The time."""
    return dt.datetime.now(dt.UTC)


if __name__ == "__main__":
    sys.exit(main())
