"""The requests of the benchmark: real requests, of their size, the same conversation in both forms."""

from __future__ import annotations

import itertools
from typing import Any

import msgspec
import pytest

from bench import bodies
from dragoman.wire.anthropic.codec import decode_messages, unknown_fields


@pytest.mark.parametrize(("size", "least"), [("1KB", 900), ("100KB", 95_000), ("1MB", 990_000)])
@pytest.mark.parametrize("form", ["messages", "chat"])
def test_bodies_have_their_size(size: str, least: int, form: str) -> None:
    assert least <= len(bodies.body(size, form)) <= bodies.SIZES[size] * 1.03


@pytest.mark.parametrize("size", bodies.SIZES)
def test_bodies_are_messages_requests(size: str) -> None:
    body = bodies.body(size, "messages")
    assert decode_messages(body).stream
    assert unknown_fields(body) == []


def test_an_agents_history_has_calls_with_their_results() -> None:
    turns = chat_turns(bodies.body("100KB", "chat"))
    calls = [call["id"] for turn in turns for call in turn.get("tool_calls", [])]
    results = [turn["tool_call_id"] for turn in turns if turn["role"] == "tool"]
    names = {call["function"]["name"] for turn in turns for call in turn.get("tool_calls", [])}
    assert calls == results
    assert len(calls) > 20
    assert names == {"read_file", "edit_file"}


def test_both_forms_hold_the_same_results() -> None:
    chat = [turn["content"] for turn in chat_turns(bodies.body("100KB", "chat")) if turn["role"] == "tool"]
    messages: list[dict[str, Any]] = msgspec.json.decode(bodies.body("100KB", "messages"))["messages"]
    results = [turn["content"][0]["content"] for turn in messages[2::2]]
    assert results == chat


@pytest.mark.parametrize("form", ["messages", "chat"])
def test_a_session_only_grows_at_its_end(form: str) -> None:
    requests = list(bodies.session(form, 5))
    heads = [request.rpartition(b"]")[0] for request in requests]
    assert all(later.startswith(earlier) for earlier, later in itertools.pairwise(heads))
    assert len(requests) == 5


def chat_turns(body: bytes) -> list[dict[str, Any]]:
    """The turns of a Chat Completions request."""
    turns: list[dict[str, Any]] = msgspec.json.decode(body)["messages"]
    return turns
