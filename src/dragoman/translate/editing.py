"""Context editing: old results, arguments and thinking leave the history before the model reads it.

Pure, and a function of the history alone: the same conversation is always edited in the same way. Nothing but
the content of results, the arguments of calls and thinking blocks changes; every call keeps its result.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from dragoman.errors import InvalidRequestError
from dragoman.wire.anthropic.blocks import (
    CachedBlock,
    ContentBlock,
    RedactedThinkingBlock,
    TextBlock,
    ThinkingBlock,
    ToolReferenceBlock,
    ToolResultBlock,
    ToolUseBlock,
)
from dragoman.wire.anthropic.context import (
    ClearThinking,
    ClearToolUses,
    Edit,
    InputTokens,
    ThinkingTurns,
    ToolUses,
)
from dragoman.wire.anthropic.request import CountTokensRequest, Message

CLEARED = "[This result was removed to save context.]"
"""What stands in the place of a result that was cleared."""
CHARACTERS_PER_TOKEN = 4
"""The rate of the estimate where no engine counts, and of the steps of `clear_at_least`."""
DEFAULT_TRIGGER = 100_000
DEFAULT_KEEP = 3

_NO_INPUT = Raw(b"{}")
_THINKING = (ThinkingBlock, RedactedThinkingBlock)
# What an image or a page of a document counts for in an estimate: its bytes say nothing about it.
_PICTURE = b'"type":"base64"'
_PICTURES = re.compile(_PICTURE + rb"[^}]*")
_PICTURE_CHARACTERS = 1_000 * CHARACTERS_PER_TOKEN


class Clearing(NamedTuple):
    """What one edit would change.

    request: the edited one. tool_uses, thinking_turns: how many it clears. above: it takes effect only if the
    prompt before it has more tokens than this; None where nothing has to be counted.
    """

    request: CountTokensRequest
    tool_uses: int = 0
    thinking_turns: int = 0
    above: int | None = None


def edits_of(request: CountTokensRequest) -> Sequence[Edit]:
    """The edits that may change something, in order; `InvalidRequestError` for an order that may not be."""
    asked = request.context_management
    edits = (asked.edits if asked is not None else None) or []
    for number, edit in enumerate(edits):
        if isinstance(edit, ClearThinking) and number:
            raise InvalidRequestError(
                f"context_management.edits.{number}: clear_thinking_20251015 must be the first edit"
            )
    return [edit for edit in edits if isinstance(edit, ClearToolUses) or _clears_thinking(edit)]


def clearing_of(edit: Edit, request: CountTokensRequest) -> Clearing | None:
    """What an edit would change in a request; None where there is nothing for it to clear."""
    if isinstance(edit, ClearThinking):
        return _thinking_cleared(edit, request)
    return _tool_uses_cleared(edit, request) if isinstance(edit, ClearToolUses) else None


def estimated_tokens(request: CountTokensRequest) -> int:
    """A guess of the prompt's tokens, for an engine that cannot count."""
    parts = (request.system, request.tools, request.messages)
    return sum(_said(part) for part in parts if part) // CHARACTERS_PER_TOKEN


def may_pass(request: CountTokensRequest, tokens: int) -> bool:
    """Whether the prompt may have more tokens than this: a token is at least a byte, but a picture is not."""
    parts = [msgspec.json.encode(part) for part in (request.system, request.tools, request.messages)]
    return sum(map(len, parts)) > tokens or any(_PICTURE in part for part in parts)


# ---- thinking ----------------------------------------------------------------------------------------------


def _clears_thinking(edit: Edit) -> bool:
    return isinstance(edit, ClearThinking) and (edit.keep is None or isinstance(edit.keep, ThinkingTurns))


def _thinking_cleared(edit: ClearThinking, request: CountTokensRequest) -> Clearing | None:
    """Without the thinking of all but the newest turns that hold any.

    A turn is all that the model said between two prompts: a loop of calls and results is one.
    """
    if not _clears_thinking(edit):
        return None
    keep = edit.keep.value if isinstance(edit.keep, ThinkingTurns) else 1
    turns = [turn for turn in _turns(request.messages) if any(map(_thinks, turn))]
    old = turns[:-keep]
    if not old:
        return None
    changed = {id(message) for turn in old for message in turn}
    messages = [_without_thinking(m) if id(m) in changed else m for m in request.messages]
    return Clearing(replace(request, messages=messages), thinking_turns=len(old))


def _turns(messages: Sequence[Message]) -> Iterator[list[Message]]:
    """The assistant's messages, in groups that no prompt stands between."""
    turn: list[Message] = []
    for message in messages:
        if message.role == "assistant":
            turn.append(message)
        elif message.role == "user" and not _results(message):
            yield turn
            turn = []
    yield turn


def _thinks(message: Message) -> bool:
    return any(isinstance(block, _THINKING) for block in _blocks(message))


def _without_thinking(message: Message) -> Message:
    kept = [block for block in _blocks(message) if not isinstance(block, _THINKING)]
    return replace(message, content=kept) if _thinks(message) else message


# ---- calls and their results -------------------------------------------------------------------------------


class _Use(NamedTuple):
    """A call and its result."""

    call: ToolUseBlock
    result: ToolResultBlock


def _tool_uses_cleared(edit: ClearToolUses, request: CountTokensRequest) -> Clearing | None:
    trigger = edit.trigger or InputTokens(DEFAULT_TRIGGER)
    uses = list(_uses(request.messages))
    if isinstance(trigger, ToolUses) and len(uses) <= trigger.value:
        return None
    keep = DEFAULT_KEEP if edit.keep is None else edit.keep.value
    excluded = set(edit.exclude_tools or ())
    old = [use for use in uses[: max(0, len(uses) - keep)] if not _stays(use, excluded)]
    if edit.clear_at_least is not None:
        old = _whole_steps(old, edit.clear_at_least.value * CHARACTERS_PER_TOKEN, edit)
    if not old:
        return None
    new: dict[int, ContentBlock] = {id(use.result): replace(use.result, content=CLEARED) for use in old}
    new |= {id(use.call): replace(use.call, input=_NO_INPUT) for use in old if _clears_input(edit, use.call)}
    return Clearing(
        replace(request, messages=[_with_new_blocks(message, new) for message in request.messages]),
        tool_uses=len(old),
        above=trigger.value if isinstance(trigger, InputTokens) else None,
    )


def _stays(use: _Use, excluded: set[str]) -> bool:
    """Whether a result is never cleared: what loads a tool has to stand, or the tool could not be called.

    One that was cleared already, in a history that the client edited by itself, has nothing more to give.
    """
    content = use.result.content
    blocks = content if isinstance(content, list) else []
    loads = any(isinstance(block, ToolReferenceBlock) for block in blocks)
    texts = [block.text for block in blocks if isinstance(block, TextBlock)]
    cleared = content == CLEARED or (len(blocks) == 1 and texts == [CLEARED])
    return loads or cleared or use.call.name in excluded


def _uses(messages: Sequence[Message]) -> Iterator[_Use]:
    """The calls that have a result, in the order of the results."""
    waiting: dict[str, ToolUseBlock] = {}
    for message in messages:
        for block in _blocks(message):
            if isinstance(block, ToolUseBlock):
                waiting[block.id] = block
            elif isinstance(block, ToolResultBlock) and block.tool_use_id in waiting:
                yield _Use(waiting.pop(block.tool_use_id), block)


def _whole_steps(uses: list[_Use], step: int, edit: ClearToolUses) -> list[_Use]:
    """The oldest of the uses, up to the last one that completes another step of so many characters.

    The steps are measured by a fixed rate, so they never move: between two of them the edited history only
    grows, and the engine's prefix cache holds.
    """
    end = gathered = 0
    for number, use in enumerate(uses, start=1):
        gathered += _said(use.result.content)
        gathered += len(bytes(use.call.input)) if _clears_input(edit, use.call) else 0
        if gathered >= step:
            end, gathered = number, 0
    return uses[:end]


def _clears_input(edit: ClearToolUses, call: ToolUseBlock) -> bool:
    which = edit.clear_tool_inputs
    return call.name in which if isinstance(which, list) else bool(which)


def _with_new_blocks(message: Message, new: dict[int, ContentBlock]) -> Message:
    blocks = _blocks(message)
    if not any(id(block) in new for block in blocks):
        return message
    return replace(message, content=[new.get(id(block), block) for block in blocks])


def _results(message: Message) -> list[ToolResultBlock]:
    return [block for block in _blocks(message) if isinstance(block, ToolResultBlock)]


def _blocks(message: Message) -> list[ContentBlock]:
    return [] if isinstance(message.content, str) else message.content


def _said(value: object) -> int:
    """The characters of what a value says.

    A string, the block that it stands for, and one that is marked for a cache are the same to a model, and of
    the same length here.
    """
    if isinstance(value, str):
        return len(value)
    if isinstance(value, list):
        return sum(map(_said, value))
    if isinstance(value, TextBlock):
        return len(value.text)
    if isinstance(value, Message | ToolResultBlock):
        return _said(value.content or "")
    if isinstance(value, CachedBlock):
        value = replace(value, cache_control=None)
    return _characters(value)


def _characters(value: object) -> int:
    """The length of a value's JSON; a picture counts for as much as a page of text."""
    text = msgspec.json.encode(value)
    pictures = _PICTURES.findall(text)
    return len(text) - sum(map(len, pictures)) + len(pictures) * _PICTURE_CHARACTERS
