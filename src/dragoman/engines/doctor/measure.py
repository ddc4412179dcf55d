"""Whether something reaches the prompt: read in the rendered prompt, else weighed by its tokens."""

from __future__ import annotations

from typing import Any

import msgspec

from dragoman.engines.doctor.questions import MARK
from dragoman.engines.doctor.subject import Subject
from dragoman.wire.openai import ChatMessage, ChatTool

# The mark has 24 words; what a template adds of its own around a turn has less.
_WEIGHT = 20


class Carried(msgspec.Struct, frozen=True):
    """Whether the mark is in the prompt (None: nobody can tell), how that was seen, and what was said."""

    reached: bool | None
    how: str
    refusal: str = ""


async def carries(
    subject: Subject,
    marked: list[ChatMessage],
    unmarked: list[ChatMessage],
    tools: list[ChatTool] | None = None,
    **more: Any,
) -> Carried:
    """Whether the mark in the first messages reaches the prompt; the second ones are the same without it."""
    prompt = await subject.prompt(*marked, tools=tools, **more)
    if prompt.refusal:
        return Carried(None, "", prompt.refusal)
    if prompt.text is not None:
        return Carried(MARK in prompt.text, "seen in the rendered prompt")
    bare = await subject.prompt(*unmarked, tools=tools, **more)
    if prompt.tokens is None or bare.tokens is None:
        return Carried(None, "the server tells neither prompts nor their length", bare.refusal)
    weight = prompt.tokens - bare.tokens
    return Carried(weight >= _WEIGHT, f"weighed: {weight} tokens more")
