"""Applying context edits: the counts that decide on them, and those that the answer reports."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from msgspec import UNSET, UnsetType

from dragoman.errors import NotSupportedError
from dragoman.translate.editing import Clearing, clearing_of, edits_of, estimated_tokens, may_pass
from dragoman.wire.anthropic.request import CountTokensRequest
from dragoman.wire.anthropic.response import AppliedEdit, AppliedEdits, ClearedThinking, ClearedToolUses

Count = Callable[[Any], Awaitable[int]]
"""Tokens of a request's prompt, by the engine."""


class Edited(NamedTuple):
    """A request as the model sees it, of the kind that it was.

    applied: what the answer reports, unset where the request did not ask. original_tokens: of the prompt
    before the first edit that was applied; None where none was.
    """

    request: Any
    applied: AppliedEdits | UnsetType = UNSET
    original_tokens: int | None = None


async def edited(request: CountTokensRequest, count: Count) -> Edited:
    """The request after its edits.

    Nothing is counted unless an edit would clear something: then the prompt before it, where its trigger is
    in tokens and may have been passed, and what is left of it, where it was.
    """
    if request.context_management is None:
        return Edited(request)
    applied: list[AppliedEdit] = []
    original = before = None
    for edit in edits_of(request):
        clearing = clearing_of(edit, request)
        if clearing is None or (clearing.above is not None and not may_pass(request, clearing.above)):
            continue
        before = await _tokens(request, count) if before is None else before
        if clearing.above is not None and before <= clearing.above:
            continue
        original = before if original is None else original
        after = await _tokens(clearing.request, count)
        applied.append(_report(clearing, max(0, before - after)))
        request, before = clearing.request, after
    return Edited(request, AppliedEdits(applied), original)


async def _tokens(request: CountTokensRequest, count: Count) -> int:
    try:
        return await count(request)
    except NotSupportedError:
        return estimated_tokens(request)


def _report(clearing: Clearing, tokens: int) -> AppliedEdit:
    if clearing.thinking_turns:
        return ClearedThinking(cleared_thinking_turns=clearing.thinking_turns, cleared_input_tokens=tokens)
    return ClearedToolUses(cleared_tool_uses=clearing.tool_uses, cleared_input_tokens=tokens)
