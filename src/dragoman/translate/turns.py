"""Turns: the request's messages as runs of one role each, system turns put where the template takes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from dragoman.errors import InvalidRequestError
from dragoman.translate.options import Findings, Place
from dragoman.translate.system import reminder, system_text
from dragoman.translate.tables import UNAVAILABLE_BLOCKS
from dragoman.wire.anthropic.blocks import ContentBlock, TextBlock
from dragoman.wire.anthropic.request import Message

CLEARED = "next_user_message"
Role = Literal["system", "user", "assistant"]
# Where the blocks stand that belong in one place only.
_PLACES = {
    "tool_addition": ", only in system turns",
    "tool_removal": ", only in system turns",
    "tool_reference": ", only inside a tool_result",
}


Item = tuple[Place, ContentBlock]
"""A block behind its place in the request."""


class Turn(msgspec.Struct):
    """One role's run of blocks: consecutive messages of a role are one turn."""

    role: Role
    items: list[Item]


def turns_of(messages: Sequence[Message], *, system_in_place: bool, findings: Findings) -> list[Turn]:
    """The turns of a conversation. Leading system messages are one system turn at the head.

    Without `system_in_place`, each later system message becomes a `<system-reminder>` text of the user turn
    beside it, where it stands.
    """
    turns: list[Turn] = []
    clears = last_user(messages)
    for number, message in enumerate(messages):
        role: Role = message.role
        items = _items(number, message)
        if role == "system":
            if message.clear_at == CLEARED and number < clears:
                findings.note("system turns cleared by a later user turn, as their clear_at says")
                continue
            text = _system_turn_text(items)
            if not text:
                continue
            if not system_in_place and any(turn.role != "system" for turn in turns):
                role, text = "user", reminder(text)
            items = [(items[0][0], TextBlock(text=text))]
        if turns and turns[-1].role == role:
            turns[-1].items.extend(items)
        else:
            turns.append(Turn(role, items))
    return turns


def last_user(messages: Sequence[Message]) -> int:
    """The number of the last user message, -1 without one: it clears the system turns before it that ask."""
    return next((n for n in range(len(messages) - 1, -1, -1) if messages[n].role == "user"), -1)


def _items(number: int, message: Message) -> list[Item]:
    content = message.content
    if isinstance(content, str):
        return [(Place(number, None), TextBlock(text=content))]
    return [(Place(number, index), block) for index, block in enumerate(content)]


def _system_turn_text(items: list[Item]) -> str:
    texts = []
    for place, block in items:
        if not isinstance(block, TextBlock):
            raise refusal(block, place, "system")
        texts.append(block.text)
    return system_text(texts)


def turn_text(turn: Turn) -> str:
    """The text of a system turn."""
    return "\n".join(block.text for _, block in turn.items if isinstance(block, TextBlock))


def refusal(block: msgspec.Struct, path: object, role: str) -> InvalidRequestError:
    """The error for a block that cannot stand where it does, or cannot reach a model at all."""
    kind = block.__struct_config__.tag
    reason = UNAVAILABLE_BLOCKS.get(str(kind))
    if reason is not None:
        return InvalidRequestError(f"{path}: {kind} blocks are not available on this server ({reason})")
    where = _PLACES.get(str(kind), "")
    return InvalidRequestError(f"{path}: {kind} blocks are not allowed in {role} turns{where}")
