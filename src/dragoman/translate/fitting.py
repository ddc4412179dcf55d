"""What a chat template refuses, put so that it takes it; no word is lost."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from dragoman.wire.capabilities import EngineCapabilities
from dragoman.wire.openai import ChatMessage, Part, TextPart


def fitted(messages: list[ChatMessage], can: EngineCapabilities) -> list[ChatMessage]:
    """The same conversation for a template that can only do so much.

    Each message is put alike whatever follows it, so that a conversation that goes on extends itself.
    """
    if not can.system_at_head and messages and messages[0].role == "system":
        messages = _opened(messages[0], messages[1:])
    if not can.calls_together:
        messages = list(_apart(messages))
    if not can.calls_without_text:
        for message in messages:
            if message.tool_calls and message.content is None:
                message.content = ""
    return messages


def _opened(head: ChatMessage, rest: list[ChatMessage]) -> list[ChatMessage]:
    """The system prompt as the beginning of the first user turn, or as one where another turn comes first."""
    opening = str(head.content)
    if not rest or rest[0].role != "user":
        return [ChatMessage(role="user", content=opening), *rest]
    first, *others = rest
    return [msgspec.structs.replace(first, content=_opened_content(opening, first.content)), *others]


def _opened_content(opening: str, content: str | list[Part] | None) -> str | list[Part]:
    """A blank line parts the two, as in the templates that do this by themselves."""
    if isinstance(content, list):
        if isinstance(content[0], TextPart):
            return [TextPart(f"{opening}\n\n{content[0].text}"), *content[1:]]
        return [TextPart(opening), *content]
    return f"{opening}\n\n{content}" if content else opening


def _apart(messages: list[ChatMessage]) -> Iterator[ChatMessage]:
    """Each call in a turn of its own, its result right behind it; what was said and thought stays before."""
    found = iter(messages)
    for message in found:
        calls = message.tool_calls or []
        if len(calls) < 2:
            yield message
            continue
        first, *others = calls
        yield msgspec.structs.replace(message, tool_calls=[first])
        yield next(found)
        for call in others:
            yield ChatMessage(role="assistant", tool_calls=[call])
            yield next(found)
