"""Answers of the Messages API: the message, its blocks and its usage."""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import UNSET, Raw, UnsetType

StopReason = Literal[
    "end_turn",
    "max_tokens",
    "stop_sequence",
    "tool_use",
    "pause_turn",
    "refusal",
    "model_context_window_exceeded",
]


class TextOut(msgspec.Struct, tag_field="type", tag="text", gc=False):
    """Text that the model wrote."""

    text: str
    citations: None = None


class ThinkingOut(msgspec.Struct, tag_field="type", tag="thinking", gc=False):
    """Thinking, "" where the client asked to have it omitted; the signature brings it home."""

    thinking: str
    signature: str


class ToolUseOut(msgspec.Struct, tag_field="type", tag="tool_use", gc=False):
    """A call; `input` is one JSON object as bytes."""

    id: str
    name: str
    input: Raw


BlockOut = TextOut | ThinkingOut | ToolUseOut


class CacheCreation(msgspec.Struct, gc=False):
    """Tokens written to a cache by lifetime: engines' prefix caches report none."""

    ephemeral_5m_input_tokens: int = 0
    ephemeral_1h_input_tokens: int = 0


class OutputTokensDetails(msgspec.Struct, gc=False):
    """How many of the output tokens were thinking."""

    thinking_tokens: int = 0


class Usage(msgspec.Struct, kw_only=True):
    """Token counts; input, cache_creation and cache_read are disjoint."""

    input_tokens: int
    output_tokens: int
    cache_creation_input_tokens: int = 0
    cache_read_input_tokens: int = 0
    cache_creation: CacheCreation | None = None
    output_tokens_details: OutputTokensDetails | None = None
    server_tool_use: None = None
    service_tier: Literal["standard", "priority", "batch"] = "standard"
    speed: Literal["standard", "fast"] = "standard"
    inference_geo: str | None = None


class ClearedToolUses(
    msgspec.Struct, tag_field="type", tag="clear_tool_uses_20250919", kw_only=True, gc=False
):
    """How many results were cleared, and the tokens that were saved."""

    cleared_tool_uses: int
    cleared_input_tokens: int


class ClearedThinking(
    msgspec.Struct, tag_field="type", tag="clear_thinking_20251015", kw_only=True, gc=False
):
    """How many turns lost their thinking, and the tokens that were saved."""

    cleared_thinking_turns: int
    cleared_input_tokens: int


AppliedEdit = ClearedToolUses | ClearedThinking


class AppliedEdits(msgspec.Struct):
    """Answer to `context_management`: which edits were applied."""

    applied_edits: list[AppliedEdit] = []


class MessageOut(msgspec.Struct, tag_field="type", tag="message", kw_only=True):
    """One whole answer."""

    id: str
    role: Literal["assistant"] = "assistant"
    model: str
    content: list[BlockOut]
    stop_reason: StopReason | None
    stop_sequence: str | None = None
    stop_details: None = None
    usage: Usage
    container: None = None
    diagnostics: None = None
    context_management: AppliedEdits | UnsetType = UNSET
