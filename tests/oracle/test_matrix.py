"""What the tables say of each part of a request is what every engine is sent."""

from __future__ import annotations

import pytest

from dragoman.translate import tables
from tests.oracle import matrix
from tests.oracle.examples import ELSEWHERE, EXAMPLES

ROWS = {
    f"{kind}.{row.name}": row
    for kind, rows in {
        "request": tables.PARAMETERS,
        "turn": tables.MESSAGE_FIELDS,
        "tool": tables.TOOL_FIELDS,
        "block": tables.BLOCKS,
        "block field": tables.BLOCK_FIELDS,
        "edit": tables.EDITS,
        "tool type": tables.TOOL_TYPES,
        "source": tables.SOURCES,
    }.items()
    for row in rows
}
UNSENT = {matrix.NOT_SENT, matrix.REFUSED}


def test_every_row_has_an_example_and_every_example_a_row() -> None:
    assert sorted([*EXAMPLES, *ELSEWHERE]) == sorted(ROWS)


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_row_says_what_engines_are_sent(name: str) -> None:
    found = {matrix.outcome(engine, *EXAMPLES[name]) for engine in matrix.ENGINES}
    effect = ROWS[name].effect
    assert {
        "translated": bool(found - UNSENT),
        "no effect": found == {matrix.NOT_SENT},
        "refused": found == {matrix.REFUSED},
        "placement": False,
    }[effect], f"{effect}, but engines are sent {found}"


@pytest.mark.parametrize("name", [*EXAMPLES])
def test_the_request_without_a_part_is_accepted_everywhere(name: str) -> None:
    for engine in matrix.ENGINES:
        assert matrix.sent(engine, EXAMPLES[name].without).members["messages"]
