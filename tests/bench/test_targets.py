"""The targets: each met and missed by its figure alone, and neither where nothing was measured."""

from __future__ import annotations

import pytest

from bench.results import Report, Target
from bench.targets import evaluate
from tests.bench.reports import cell, report, server, session

RELAY, SMG, LITELLM, LARGE, FIRST, LIVE, SESSION = range(7)


def missed(report: Report) -> list[int]:
    """The places of the targets that are not met."""
    return [place for place, target in enumerate(evaluate(report)) if target.met is False]


def test_all_can_be_met() -> None:
    targets = evaluate(report())
    assert [target.met for target in targets] == [True] * 7
    assert [target.limit for target in targets] == [1.5, 1.5, 60.0, 3.0, pytest.approx(1.51), 150.0, 1.1]


@pytest.mark.parametrize(
    ("changes", "places"),
    [
        ({"cpu_us_per_token": {"dragoman": 3.0, "relay": 1.9, "smg": 9.0, "litellm": 300.0}}, [RELAY]),
        ({"cpu_us_per_token": {"dragoman": 3.0, "relay": 9.0, "smg": 1.9, "litellm": 300.0}}, [SMG]),
        ({"cpu_us_per_token": {"dragoman": 2.0, "relay": 2.0, "smg": 2.0, "litellm": 119.0}}, [LITELLM]),
        ({"cells": [cell("dragoman", "1MB-1", cpu=3.1)]}, [LARGE]),
        ({"cells": [cell("direct", "short-1", first=1.0), cell("dragoman", "short-1", first=2.03)]}, [FIRST]),
        ({"servers": [server("dragoman", live_mb=151.0)]}, [LIVE]),
        ({"servers": [server("dragoman", at_once=999)]}, [LIVE]),
        ({"sessions": [session(growth=1.11)]}, [SESSION]),
    ],
)
def test_each_is_missed_by_its_own_figure(changes: dict[str, object], places: list[int]) -> None:
    assert missed(report(**changes)) == places


def test_the_limits_themselves_are_kept() -> None:
    edge = {"dragoman": 3.0, "relay": 2.0, "smg": 2.0, "litellm": 180.0}
    assert missed(report(cpu_us_per_token=edge, sessions=[session(growth=1.1)])) == []


def test_the_first_token_is_judged_where_it_is_worst() -> None:
    cells = [
        cell("direct", "short-1", first=10.0),
        cell("dragoman", "short-1", first=11.0),
        cell("direct", "mixed-1", first=1.0),
        cell("dragoman", "mixed-1", first=2.5),
    ]
    found = evaluate(report(cells=cells))[FIRST]
    assert (found.found, found.met) == (2.5, False)
    assert found.limit == pytest.approx(2.02)
    assert found.words == "the worst of short-1 11.00 (direct 10.00), mixed-1 2.50 (direct 1.00)"


@pytest.mark.parametrize(
    "changes",
    [
        {"cpu_us_per_token": {"dragoman": 2.0, "relay": None, "smg": None, "litellm": None}},
        {"cpu_us_per_token": {"dragoman": None, "relay": 1.0, "smg": 1.0, "litellm": 1.0}},
    ],
)
def test_a_peer_that_failed_proves_nothing(changes: dict[str, object]) -> None:
    assert [target.met for target in evaluate(report(**changes))[: LITELLM + 1]] == [None] * 3


def test_what_was_not_measured_is_neither_met_nor_missed() -> None:
    nothing = evaluate(report(cells=[], codec=None, servers=[], sessions=[]))[LARGE:]
    assert [(target.found, target.met, target.words) for target in nothing] == [
        (None, None, "not measured")
    ] * 4


def test_at_most_and_at_least_are_said() -> None:
    at_least: list[Target] = [target for target in evaluate(report()) if "at least" in target.name]
    assert [target.found for target in at_least] == [150.0]
