"""Only answers that a client went on from, or the last of a branch, are trained."""

from __future__ import annotations

import msgspec

from dragoman.ledger.confirmation import confirmed, doubt
from tests.unit.ledger.turns import message, turn

A, B, C, D, E = (message(name).digest for name in "abcde")


def test_an_answer_that_a_later_request_holds_is_confirmed() -> None:
    first = turn("t1", path=(A, B), answer=C)
    second = turn("t2", path=(A, B, C, D), answer=E, began=2.0, delivered=True)
    other = turn("t3", path=(A, B), answer=D, began=3.0)
    assert confirmed([first, second, other]) == {"t1"}
    why_not = doubt([first, second, other])
    # it went out for certain: it was echoed
    assert why_not(first) == ""
    assert why_not(second) == ""
    assert why_not(other) == "not delivered"


def test_of_answers_to_the_same_only_the_last_may_be_final() -> None:
    first = turn("t1", path=(A, B), answer=C, delivered=True)
    again = turn("t2", path=(A, B), answer=D, delivered=True, began=2.0)
    why_not = doubt([again, first])
    assert why_not(first) == "asked for again, and not gone on from"
    assert why_not(again) == ""
    echoed = turn("t3", path=(A, B, C, E), began=3.0)
    assert doubt([first, again, echoed])(first) == ""


def test_what_has_no_answer_confirms_nothing() -> None:
    cut = msgspec.structs.replace(turn("t1", path=(A, B), answer=""), state="cut")
    assert confirmed([cut]) == set()
    assert doubt([cut])(cut) == "not delivered"
