"""Questions by rendering: what a chat template does, seen on a prompt that it makes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

Render = Callable[[dict[str, Any]], Awaitable[str | None]]
"""Renders messages (and more members of a request) to the prompt's text; None where the template refuses."""

# System turns before an assistant turn and before a user turn: a template that only wants every other turn to
# be a user's takes one for an assistant's, and refuses as soon as there is one.
_ROLES = ("system", "user", "system", "assistant", "user", "system", "user")
_MARKS = ("alpha-1", "bravo-2", "charlie-3", "delta-4", "echo-5", "foxtrot-6", "golf-7")


async def keeps_system_in_place(render: Render) -> bool:
    """Whether system turns after the first render, and where they stand."""
    messages = [{"role": role, "content": mark} for role, mark in zip(_ROLES, _MARKS, strict=True)]
    prompt = await render({"messages": messages})
    if prompt is None:
        return False
    places = [prompt.find(mark) for mark in _MARKS]
    return places == sorted(places) and places[0] >= 0


async def takes_user_after_result(render: Render) -> bool:
    """Whether a user turn right behind the result of a call renders, where the result alone does."""
    function = {"name": "find", "arguments": "{}"}
    # some templates want ids of nine characters
    call = {"id": "a1b2c3d4e", "type": "function", "function": function}
    turns = [
        {"role": "user", "content": _MARKS[0]},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": _MARKS[1], "tool_call_id": call["id"]},
    ]
    tools = [{"type": "function", "function": {"name": "find", "parameters": {"type": "object"}}}]
    if await render({"messages": turns, "tools": tools}) is None:
        return True
    turns.append({"role": "user", "content": _MARKS[2]})
    prompt = await render({"messages": turns, "tools": tools})
    return prompt is not None and _MARKS[2] in prompt


async def switches_thinking(render: Render) -> bool:
    """Whether the template's thinking switch changes the prompt."""
    messages = [{"role": "user", "content": _MARKS[0]}]
    on = await render({"messages": messages, "chat_template_kwargs": thinking_switch(True)})
    off = await render({"messages": messages, "chat_template_kwargs": thinking_switch(False)})
    return on is not None and off is not None and on != off


def thinking_switch(enabled: bool) -> dict[str, bool]:
    """The template arguments that turn thinking on or off: templates read one name or the other."""
    return {"enable_thinking": enabled, "thinking": enabled}
