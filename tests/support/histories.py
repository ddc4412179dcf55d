"""Histories for the tests of context editing: turns with thinking, calls and results."""

from __future__ import annotations

from typing import Any

from dragoman.wire.anthropic.codec import decode_messages
from dragoman.wire.anthropic.request import MessagesRequest
from tests.support.translation import body

Json = dict[str, Any]


def prompt(text: str = "Go on.") -> Json:
    """A user's turn."""
    return {"role": "user", "content": text}


def used(
    number: int, *, tool: str = "read", thought: str = "", result: object = None, call_id: str = ""
) -> list[Json]:
    """One call with its result: two messages."""
    call_id = call_id or f"toolu_{number}"
    call = {"type": "tool_use", "id": call_id, "name": tool, "input": {"path": f"/file/{number}"}}
    thinking = [{"type": "thinking", "thinking": thought, "signature": ""}] if thought else []
    content = f"what file {number} says" if result is None else result
    return [
        {"role": "assistant", "content": [*thinking, call]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call_id, "content": content}]},
    ]


def said(text: str, thought: str = "") -> Json:
    """An assistant's answer in words."""
    thinking = [{"type": "thinking", "thinking": thought, "signature": ""}] if thought else []
    return {"role": "assistant", "content": [*thinking, {"type": "text", "text": text}]}


def uses(count: int, **given: Any) -> list[Json]:
    """A prompt, and a loop of so many calls."""
    return [prompt("Read."), *(message for number in range(count) for message in used(number, **given))]


def request(messages: list[Json], *edits: Json, **fields: Any) -> MessagesRequest:
    """A request with this history and these edits."""
    return decode_messages(body(messages=messages, context_management={"edits": list(edits)}, **fields))


def tool_uses(**given: Any) -> Json:
    """The edit that clears results; numbers stand for what the API wraps in an object."""
    kinds = {"trigger": "tool_uses", "keep": "tool_uses", "clear_at_least": "input_tokens"}
    wrapped = {
        name: {"type": kinds[name], "value": value} if isinstance(value, int) and name in kinds else value
        for name, value in given.items()
    }
    return {"type": "clear_tool_uses_20250919", **wrapped}


def thinking(keep: object = None) -> Json:
    """The edit that clears thinking."""
    if isinstance(keep, int):
        keep = {"type": "thinking_turns", "value": keep}
    return {"type": "clear_thinking_20251015", **({} if keep is None else {"keep": keep})}
