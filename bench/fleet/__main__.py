"""Runs the simulator: `python -m bench.fleet`. Prints one row for each way of placing calls."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from bench.fleet.engines import Engine, Hardware
from bench.fleet.figures import Figures
from bench.fleet.pattern import Pattern, load
from bench.fleet.policies import POLICIES
from bench.fleet.sessions import Session, Shape, calls, drawn
from bench.fleet.world import Plan, World

COLUMNS = (
    "policy",
    "cached",
    "of possible",
    "work, busiest/mean",
    "calls, most/mean",
    "sessions moved",
    "moves/100 calls",
    "forced",
    "asked again",
    "first token p50 s",
    "p99 s",
)


def options_of(arguments: Sequence[str]) -> argparse.Namespace:
    """The options of a call."""
    parser = argparse.ArgumentParser(prog="bench.fleet", description=__doc__)
    add = parser.add_argument
    shape, plan, hardware = Shape(), Plan(), Hardware()
    add("--sessions", type=int, default=shape.sessions, help="agent sessions (%(default)s)")
    add("--rounds", type=float, default=shape.rounds, help="questions of a user, in the mean (%(default)s)")
    add("--within", type=float, default=shape.within, help="seconds in which they start (%(default)s)")
    add("--engines", type=int, default=plan.engines, help="engines at the start (%(default)s)")
    add("--failures", type=int, default=plan.failures, help="engines that die and come back (%(default)s)")
    add("--joins", type=int, default=plan.joins, help="engines that come on top (%(default)s)")
    add("--replicas", type=int, default=plan.replicas, help="routers side by side (%(default)s)")
    add("--capacity", type=int, default=hardware.capacity, help="tokens of an engine's cache (%(default)s)")
    add("--seed", type=int, default=1, help="of all that is drawn (%(default)s)")
    add("--policies", default=",".join(POLICIES), help="which, by comma (%(default)s)")
    return parser.parse_args(arguments)


def possible(sessions: Sequence[Session], window: int) -> float:
    """The share of prompt tokens that one engine with room for everything would have cached."""
    steps = [step for session in sessions for step in calls(session)]
    endless = Engine("all", Hardware(capacity=len(steps) * 2 * window))
    cached = sum(endless.take(step.prompt, step.answer, 0.0)[0] for step in steps)
    return cached / sum(step.prompt.tokens for step in steps)


def row(name: str, figures: Figures, best: float, sessions: int) -> list[str]:
    """The cells of a policy."""
    return [
        name,
        f"{figures.hit_rate:.1%}",
        f"{figures.hit_rate / best:.1%}",
        f"{figures.spread:.2f}",
        f"{figures.peak:.2f}",
        f"{len(figures.moved_sessions) / sessions:.1%}",
        f"{100 * figures.moves / figures.calls:.2f}",
        str(figures.forced),
        str(figures.asked_again),
        f"{figures.wait(0.5):.2f}",
        f"{figures.wait(0.99):.2f}",
    ]


def main(arguments: Sequence[str], pattern: Pattern | None = None) -> None:
    """Simulates and prints."""
    options = options_of(arguments)
    shape = Shape(sessions=options.sessions, rounds=options.rounds, within=options.within)
    plan = Plan(
        engines=options.engines,
        failures=options.failures,
        joins=options.joins,
        within=options.within,
        replicas=options.replicas,
        hardware=Hardware(capacity=options.capacity),
    )
    sessions = drawn(pattern or load(), shape, options.seed)
    best = possible(sessions, shape.window)
    number = sum(1 for session in sessions for _ in calls(session))
    console = Console(width=160)
    counted = f"{plan.engines} engines, {len(sessions)} sessions, {number} calls"
    console.print(f"{counted}; {best:.1%} of prompt tokens could be cached")
    table = Table(*COLUMNS, box=None)
    for name in options.policies.split(","):
        figures = World(plan, sessions, POLICIES[name], options.seed).run()
        table.add_row(*row(name, figures, best, len(sessions)))
    console.print(table)


if __name__ == "__main__":
    main(sys.argv[1:])
