"""Prompts that extend the ids of the turn before, and where a template would have written otherwise. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from dragoman.ledger.values import Drift, DriftCause, Sample

# Ids around a place where two prompts differ, of which a report shows the text.
WINDOW = 24
_STRIDE = 512
_THINKING = ("<think>", "<seed:think>", "[THINK]", "<|START_THINKING|>", "<|channel|>analysis")
_CALLS = ("<tool_call>", "<|python_tag|>", "[TOOL_CALLS]", "<|START_ACTION|>", "<function=", "<tool_calls>")
_CALL_ENDS = ("</tool_call>", "<|END_ACTION|>", "</function>", "</tool_calls>")
_BILLING = "x-anthropic-billing-header"


class Extended(msgspec.Struct, frozen=True):
    """A prompt that goes on from recorded ids.

    ids: the prompt. carried: how many of its first ids are the recorded ones. differs_at: the first id in
    which the rendered prompt is another; None where it begins with all that was recorded.
    """

    ids: list[int]
    carried: int
    differs_at: int | None


def extended(base: Sample, rendered: list[int], end: int | None = None) -> Extended | None:
    """The ids of the base's prompt and answer, then those of `rendered` behind that answer's turn.

    Where `rendered` spells the earlier turns otherwise, the end of the answer's turn in it is found by
    counting the ids that end a turn: as many as were recorded. `end` is that id, needed for an answer that
    was cut; else it is the last one sampled. None where the place cannot be found.
    """
    recorded = [*base.prompt_ids, *base.sampled_ids]
    same = common(recorded, rendered)
    if same == len(recorded):
        return Extended(rendered, same, None)
    is_cut = base.finish_reason == "length"
    closes = end if is_cut else recorded[-1]
    if closes is None:
        return None
    place = _nth(rendered, closes, recorded.count(closes) + is_cut)
    if place is None:
        return None
    # the end of a turn that was cut is not among the recorded ids
    rest = rendered[place if is_cut else place + 1 :]
    return Extended(recorded + rest, len(recorded), same) if rest else None


def common(one: Sequence[int], other: Sequence[int]) -> int:
    """How many ids two sequences begin with alike."""
    most = min(len(one), len(other))
    at = 0
    while at < most and one[at : at + _STRIDE] == other[at : at + _STRIDE]:
        at += _STRIDE
    at = min(at, most)
    while at < most and one[at] == other[at]:
        at += 1
    return at


def _nth(ids: list[int], wanted: int, times: int) -> int | None:
    place = -1
    try:
        for _ in range(times):
            place = ids.index(wanted, place + 1)
    except ValueError:
        return None
    return place if times else None


def window(ids: Sequence[int], at: int) -> list[int]:
    """The ids around a place."""
    return list(ids[max(0, at - WINDOW) : at + WINDOW])


def drift(at: int, before: str, after: str, *, is_edited: bool, is_recorded_used: bool) -> Drift:
    """The report of a difference. before, after: both windows' texts. is_edited: the history differs."""
    return Drift(
        at=at,
        before=before,
        after=after,
        cause=cause_of(before, after, is_edited=is_edited),
        used="recorded" if is_recorded_used else "template",
    )


def cause_of(before: str, after: str, *, is_edited: bool) -> DriftCause:
    """Why a template wrote `after` where `before` was recorded; in doubt "unknown"."""
    same = _same(before, after)
    if _BILLING in before + after:
        return "billing header"
    if is_edited:
        return "edited text"
    if _thinks(before, same) != _thinks(after, same):
        return "cut thinking"
    if _is_in_call(before[:same]):
        return "tool-argument spelling"
    return "unknown" if before == after else "template"


def _same(one: str, other: str) -> int:
    most = min(len(one), len(other))
    return next((at for at in range(most) if one[at] != other[at]), most)


def _thinks(text: str, at: int) -> bool:
    """Whether thinking begins behind a place, or its marker stands across it."""
    return any(text.find(marker, max(0, at - len(marker) + 1)) >= 0 for marker in _THINKING)


def _is_in_call(text: str) -> bool:
    opened = max(text.rfind(marker) for marker in _CALLS)
    return opened >= 0 and opened > max(text.rfind(marker) for marker in _CALL_ENDS)
