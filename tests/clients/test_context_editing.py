"""The official SDKs and context edits: what they ask for, and what they read of it."""

from __future__ import annotations

from typing import Any

import pytest

from dragoman.engines.scripted import answer
from dragoman.translate.editing import CLEARED
from tests.clients.conftest import Serve
from tests.clients.sdk import SDK
from tests.support.histories import prompt, said, thinking, tool_uses, uses

pytestmark = pytest.mark.clients

HISTORY = [
    prompt("Think."),
    said("Yes.", "a long thought of many words"),
    *uses(5, thought="Hm.", result="one two " * 50),
]
TOOL = {"name": "read", "description": "Reads.", "input_schema": {"type": "object"}}


def ask(*edits: dict[str, Any]) -> dict[str, Any]:
    """A beta request with these edits."""
    return {
        "model": "scripted",
        "max_tokens": 64,
        "messages": HISTORY,
        "tools": [TOOL],
        "thinking": {"type": "adaptive"},
        "betas": ["context-management-2025-06-27"],
        "context_management": {"edits": list(edits)},
    }


def test_edits_are_applied_counted_and_reported(sdk: SDK, serve: Serve) -> None:
    server = serve(lambda _: answer("Done."))
    trigger = {"type": "input_tokens", "value": 200}
    request = ask(thinking(1), tool_uses(trigger=trigger, keep=2))
    got = sdk.call("edited", server.url, request)
    message, counted = got["message"], got["counted"]
    thoughts, results = message["context_management"]["applied_edits"]
    assert (thoughts["type"], thoughts["cleared_thinking_turns"]) == ("clear_thinking_20251015", 1)
    assert (results["type"], results["cleared_tool_uses"]) == ("clear_tool_uses_20250919", 3)
    assert got["streamed"]["context_management"] == message["context_management"]
    saved = thoughts["cleared_input_tokens"] + results["cleared_input_tokens"]
    assert thoughts["cleared_input_tokens"] > 0
    assert results["cleared_input_tokens"] > 200
    original = counted["context_management"]["original_input_tokens"]
    assert counted["input_tokens"] == original - saved == message["usage"]["input_tokens"]
    turns = server.calls[-1].request.messages
    assert [turn.content == CLEARED for turn in turns if turn.role == "tool"] == [True] * 3 + [False] * 2
    assert [turn.reasoning for turn in turns if turn.role == "assistant"] == [None, *["Hm."] * 5]


def test_what_clears_nothing_says_so(sdk: SDK, serve: Serve) -> None:
    server = serve(lambda _: answer("Done."))
    got = sdk.call("edited", server.url, ask(thinking("all"), tool_uses(), {"type": "compact_20260112"}))
    assert (
        got["message"]["context_management"] == got["streamed"]["context_management"] == {"applied_edits": []}
    )
    counted = got["counted"]
    assert counted["context_management"]["original_input_tokens"] == counted["input_tokens"]
    assert all(turn.content != CLEARED for call in server.calls for turn in call.request.messages)
