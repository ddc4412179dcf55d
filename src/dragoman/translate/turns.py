"""Turns: the request's messages as runs of one role each, system turns put where the template takes them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import msgspec

from dragoman.errors import InvalidRequestError
from dragoman.translate.options import Findings, Place
from dragoman.translate.system import reminder, system_text
from dragoman.translate.tables import UNAVAILABLE_BLOCKS
from dragoman.wire.anthropic.blocks import ContentBlock, TextBlock
from dragoman.wire.anthropic.request import Message

Role = Literal["system", "user", "assistant"]


class Item(NamedTuple):
    """A block and where it stands in the request."""

    place: Place
    block: ContentBlock


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
    last_user = max((n for n, message in enumerate(messages) if message.role == "user"), default=-1)
    for number, message in enumerate(messages):
        role: Role = message.role
        items = list(_items(number, message))
        if role == "system":
            if message.clear_at == "next_user_message" and number < last_user:
                findings.note("system turns cleared by a later user turn, as their clear_at says")
                continue
            text = _system_turn_text(items)
            if not text:
                continue
            if not system_in_place and any(turn.role != "system" for turn in turns):
                role, text = "user", reminder(text)
            items = [Item(items[0].place, TextBlock(text=text))]
        if turns and turns[-1].role == role:
            turns[-1].items.extend(items)
        else:
            turns.append(Turn(role, items))
    return turns


def _items(number: int, message: Message) -> Iterator[Item]:
    if isinstance(message.content, str):
        yield Item(Place(number, None), TextBlock(text=message.content))
        return
    for index, block in enumerate(message.content):
        yield Item(Place(number, index), block)


def _system_turn_text(items: list[Item]) -> str:
    texts = []
    for place, block in items:
        if not isinstance(block, TextBlock):
            raise refusal(block, str(place), "system")
        texts.append(block.text)
    return system_text(texts)


def turn_text(turn: Turn) -> str:
    """The text of a system turn."""
    return "\n".join(block.text for _, block in turn.items if isinstance(block, TextBlock))


def refusal(block: msgspec.Struct, path: str, role: str) -> InvalidRequestError:
    """The error for a block that cannot stand where it does, or cannot reach a model at all."""
    kind = block.__struct_config__.tag
    reason = UNAVAILABLE_BLOCKS.get(str(kind))
    if reason is not None:
        return InvalidRequestError(f"{path}: {kind} blocks are not available on this server ({reason})")
    return InvalidRequestError(f"{path}: {kind} blocks are not allowed in {role} turns")
