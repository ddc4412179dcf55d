"""Questions by rendering: what a chat template does, seen on a prompt that it makes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from dragoman.engines.dialects.raw_formats import raw_format_of
from dragoman.wire.capabilities import EngineCapabilities

Render = Callable[[dict[str, Any]], Awaitable[str | None]]
"""Renders messages (and more members of a request) to the prompt's text; None where the template refuses."""

# System turns before an assistant turn and before a user turn: a template that only wants every other turn to
# be a user's takes one for an assistant's, and refuses as soon as there is one.
_ROLES = ("system", "user", "system", "assistant", "user", "system", "user")
_MARKS = ("alpha-1", "bravo-2", "charlie-3", "delta-4", "echo-5", "foxtrot-6", "golf-7")


_ARGUMENTS = {"query": "hotel-8"}
_TOOL = {
    "type": "function",
    "function": {
        "name": "find",
        "description": "Finds it.",
        "parameters": {
            "type": "object",
            "properties": {"query": {"type": "string", "description": "What to find."}},
        },
    },
}


_SHOWN: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "india_9",
        "description": "Finds it.",
        "parameters": {"type": "object", "properties": {"query": {"type": "string", "description": "What."}}},
    },
}


async def with_template_habits(capabilities: EngineCapabilities, render: Render) -> EngineCapabilities:
    """The same capabilities, with those that are the chat template's, each found by rendering it."""
    render = await with_what_it_needs(render)
    in_place = await keeps_system_in_place(render)
    found = msgspec.structs.replace(
        capabilities,
        tools=await shows_tools(render),
        system_in_place=in_place,
        system_at_head=in_place or await takes_system_at_head(render),
    )
    return await _with_call_habits(found, render)


async def with_what_it_needs(render: Render) -> Render:
    """The same, but with a tool in each request for a template that takes none without (Hermes)."""
    if await render({"messages": [{"role": "user", "content": _MARKS[0]}]}) is not None:
        return render

    async def with_a_tool(members: dict[str, Any]) -> str | None:
        return await render({"tools": [_TOOL], **members})

    return with_a_tool


async def shows_tools(render: Render) -> bool:
    """Whether a prompt holds the tools of its request; a template that refuses them says so by itself."""
    prompt = await render({"messages": [{"role": "user", "content": _MARKS[0]}], "tools": [_SHOWN]})
    return prompt is None or _SHOWN["function"]["name"] in prompt


async def takes_system_at_head(render: Render) -> bool:
    """Whether a system turn before a user turn renders and is not left out, where the user turn renders."""
    user = {"role": "user", "content": _MARKS[1]}
    if await render({"messages": [user]}) is None:
        return True
    prompt = await render({"messages": [{"role": "system", "content": _MARKS[0]}, user]})
    return prompt is not None and _MARKS[0] in prompt


async def keeps_system_in_place(render: Render) -> bool:
    """Whether system turns after the first render, and where they stand."""
    messages = [{"role": role, "content": mark} for role, mark in zip(_ROLES, _MARKS, strict=True)]
    prompt = await render({"messages": messages})
    if prompt is None:
        return False
    places = [prompt.find(mark) for mark in _MARKS]
    return places == sorted(places) and places[0] >= 0


class _Calls:
    """One way to write calls: with an empty text beside them or none, their arguments as a text or not."""

    def __init__(self, render: Render, *, without_text: bool, as_objects: bool) -> None:
        self.without_text = without_text
        self.as_objects = as_objects
        self._render = render

    def called(self, *ids: str) -> dict[str, Any]:
        """An assistant turn with these calls."""
        arguments = msgspec.json.encode(_ARGUMENTS).decode()
        if not self.as_objects:
            arguments = as_text(arguments)
        function = {"name": "find", "arguments": arguments}
        calls = [{"id": each, "type": "function", "function": function} for each in ids]
        return {"role": "assistant", "content": None if self.without_text else "", "tool_calls": calls}

    async def prompt(self, *turns: dict[str, Any]) -> str | None:
        """The prompt of a user turn and these."""
        messages = [{"role": "user", "content": _MARKS[0]}, *turns]
        return await self._render({"messages": messages, "tools": [_TOOL]})


# some templates want ids of nine characters
_FIRST, _SECOND = "a1b2c3d4e", "b1b2c3d4e"
_WAYS = ((True, True), (False, True), (True, False), (False, False))


async def _with_call_habits(capabilities: EngineCapabilities, render: Render) -> EngineCapabilities:
    """With how the template takes calls and what follows them; all as it was where it takes none."""
    for without_text, as_objects in _WAYS:
        calls = _Calls(render, without_text=without_text, as_objects=as_objects)
        prompt = await calls.prompt(calls.called(_FIRST), _result(_FIRST))
        if prompt is not None:
            return msgspec.structs.replace(
                capabilities,
                raw_format=raw_format_of(prompt, _MARKS[0]),
                calls_without_text=without_text,
                argument_objects=as_objects,
                calls_together=await _takes_calls_together(calls),
                user_after_result=await _takes_user_after_result(calls),
            )
    return capabilities


async def _takes_calls_together(calls: _Calls) -> bool:
    """Whether two calls in one turn render, where each in a turn of its own does."""
    together = await calls.prompt(calls.called(_FIRST, _SECOND), _result(_FIRST), _result(_SECOND))
    if together is not None:
        return True
    apart = (calls.called(_FIRST), _result(_FIRST), calls.called(_SECOND), _result(_SECOND))
    return await calls.prompt(*apart) is None


async def _takes_user_after_result(calls: _Calls) -> bool:
    """Whether a user turn right behind the result of a call renders, and is not left out."""
    user = {"role": "user", "content": _MARKS[2]}
    prompt = await calls.prompt(calls.called(_FIRST), _result(_FIRST), user)
    return prompt is not None and _MARKS[2] in prompt


def _result(call_id: str) -> dict[str, Any]:
    return {"role": "tool", "content": _MARKS[1], "tool_call_id": call_id}


def as_text(arguments: str) -> str:
    """Arguments such that a server which reads their JSON hands their text on to the template."""
    return msgspec.json.encode(arguments).decode()


async def switches_thinking(render: Render) -> bool:
    """Whether the template's thinking switch changes the prompt."""
    messages = [{"role": "user", "content": _MARKS[0]}]
    on = await render({"messages": messages, "chat_template_kwargs": thinking_switch(True)})
    off = await render({"messages": messages, "chat_template_kwargs": thinking_switch(False)})
    return on is not None and off is not None and on != off


def thinking_switch(enabled: bool) -> dict[str, bool]:
    """The template arguments that turn thinking on or off: templates read one name or the other."""
    return {"enable_thinking": enabled, "thinking": enabled}
