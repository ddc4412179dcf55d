"""Tools that an engine must know though the head of its prompt does not show them.

Templates print `tools`, and engines read calls by the same `tools`. Where a server passes a request's
template arguments on after its own, `tools` among them are what the template prints, and the request's are
what the engine knows. Whether a server does so, for the template that it has, is seen on prompts that it
renders.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from dragoman.engines.dialects.probes import Render
from dragoman.wire.openai import ChatRequest, ChatTool, FunctionSpec

Shown = Callable[[ChatTool], dict[str, Any]]
"""A tool as a server itself gives it to the template."""

_SCHEMA = msgspec.Raw(b'{"type":"object","properties":{"b":{"type":"string"},"a":{"type":"integer"}}}')
_HEAD = [
    ChatTool(function=FunctionSpec(name="alpha", description="Does alpha.", parameters=_SCHEMA, strict=True)),
    ChatTool(function=FunctionSpec(name="bravo", parameters=_SCHEMA)),
]
_APART = ChatTool(function=FunctionSpec(name="charlie", description="Does charlie.", parameters=_SCHEMA))
_TURNS = [{"role": "system", "content": "delta-4"}, {"role": "user", "content": "echo-5"}]


async def hides_unlisted(render: Render, shown: Shown) -> bool:
    """Whether a tool that is not among the template's own arguments leaves no trace in the prompt."""
    plain = await render({"messages": _TURNS, "tools": _HEAD})
    apart = await render({"messages": _TURNS, **_apart([*_HEAD, _APART], _HEAD, shown)})
    return plain is not None and plain == apart


async def hides_in_messages(render: Render) -> bool:
    """The same for a tool that a system turn brings along."""
    plain = await render({"messages": _TURNS, "tools": _HEAD})
    apart = await render({"messages": with_tools(_TURNS, [_APART]), "tools": _HEAD})
    return plain is not None and plain == apart


def twice(model: str) -> dict[str, Any]:
    """A request with one tool in both places, which a server that reads both refuses, as names are unique."""
    return {
        "model": model,
        "messages": with_tools(_TURNS, [_APART]),
        "tools": [_APART],
        "max_tokens": 1,
    }


def with_tools(messages: list[Any], tools: list[ChatTool]) -> list[Any]:
    """The messages with tools that the first one, a system turn, brings along."""
    return [msgspec.to_builtins(messages[0]) | {"tools": tools}, *messages[1:]]


def tell_apart(
    body: dict[str, Any],
    request: ChatRequest,
    shown: Shown,
    known: list[ChatTool],
    head: list[ChatTool],
) -> None:
    """Writes that the engine is to know the tools `known`, and that the template prints those of the head."""
    if request.tool_choice is not None and request.tool_choice.mode == "none":
        # no call is read, so that the tools are only printed
        known = head
    if known is head:
        body["tools"] = head
        return
    apart = _apart(known, head, shown)
    body["tools"] = apart["tools"]
    body["chat_template_kwargs"] = body.get("chat_template_kwargs", {}) | apart["chat_template_kwargs"]


def _apart(known: list[ChatTool], head: list[ChatTool], shown: Shown) -> dict[str, Any]:
    return {"tools": known, "chat_template_kwargs": {"tools": [shown(tool) for tool in head]}}
