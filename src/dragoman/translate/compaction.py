"""Compactions: the summary that stands for all that was said before it."""

from __future__ import annotations

from dragoman.errors import InvalidRequestError
from dragoman.translate.options import Findings, Place
from dragoman.translate.turns import Item, Role, Turn
from dragoman.wire.anthropic.blocks import CompactionBlock, TextBlock

_OPENING = "<conversation_summary>"
_CLOSING = "</conversation_summary>"


def compacted(turns: list[Turn], findings: Findings) -> list[Turn]:
    """The turns from the last summary on, the head of system turns before it.

    As in the API, a summary replaces everything that was said before it. The model wrote it, but a user turn
    holds it, since most templates want the first turn to be the user's. A compaction without content failed:
    it stands for nothing, and what is before it stays. Its changes of the tools stand in its content already.
    """
    found: tuple[int, int, Item] | None = None
    for number, turn in enumerate(turns):
        for index, (place, block) in enumerate(turn.items):
            if isinstance(block, CompactionBlock) and _has_summary(block, place):
                text = TextBlock(text=f"{_OPENING}\n{block.content}\n{_CLOSING}")
                found = number, index, (place, text)
    if found is None:
        return turns
    findings.note("turns replaced by their compaction")
    number, index, summary = found
    kept = turns[:1] if turns[0].role == "system" else []
    _add(kept, "user", [summary])
    _add(kept, turns[number].role, turns[number].items[index + 1 :])
    for later in turns[number + 1 :]:
        _add(kept, later.role, later.items)
    return kept


def _has_summary(block: CompactionBlock, place: Place) -> bool:
    if block.content is None:
        return False
    if not block.content:
        raise InvalidRequestError(f"{place}.content: String should have at least 1 character")
    return True


def _add(turns: list[Turn], role: Role, items: list[Item]) -> None:
    if not items:
        return
    if turns and turns[-1].role == role:
        turns[-1].items.extend(items)
    else:
        turns.append(Turn(role, items))
