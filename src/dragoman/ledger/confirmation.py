"""Which answers a client went on from: only those, and the last one of each branch, are trained. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dragoman.ledger.index import nodes_of
from dragoman.ledger.values import Turn


def confirmed(turns: Sequence[Turn]) -> set[str]:
    """The turns whose answer stands in a later request, by id."""
    seen = {node for turn in turns for node in nodes_of(turn.path)}
    return {turn.id for turn in turns if turn.answer and nodes_of((*turn.path, turn.answer))[-1] in seen}


def doubt(turns: Sequence[Turn]) -> Callable[[Turn], str]:
    """Why a turn is not to be trained, by what its session says later; "" where it may be.

    A turn that no later request confirms may be the last of its branch: then it was delivered, and nobody
    asked for the same again.
    """
    known = confirmed(turns)
    newest: dict[tuple[str, ...], str] = {}
    for turn in sorted(turns, key=lambda turn: (turn.began, turn.id)):
        newest[turn.path] = turn.id

    def why_not(turn: Turn) -> str:
        if turn.id in known:
            return ""
        if not turn.delivered:
            return "not delivered"
        return "" if newest.get(turn.path, turn.id) == turn.id else "asked for again, and not gone on from"

    return why_not
