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

WebSearchErrorCode = Literal[
    "invalid_tool_input",
    "unavailable",
    "max_uses_exceeded",
    "too_many_requests",
    "query_too_long",
    "request_too_large",
]
WebFetchErrorCode = Literal[
    "invalid_tool_input",
    "url_too_long",
    "url_not_allowed",
    "url_not_in_prior_context",
    "url_not_accessible",
    "unsupported_content_type",
    "too_many_requests",
    "max_uses_exceeded",
    "unavailable",
    "content_too_large",
]
ToolSearchErrorCode = Literal[
    "invalid_tool_input", "unavailable", "too_many_requests", "execution_time_exceeded"
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


# --- tools that run on this server ---


class ServerToolUseOut(msgspec.Struct, tag_field="type", tag="server_tool_use", gc=False):
    """A call that runs here; `input` is one JSON object as bytes."""

    id: str
    name: str
    input: Raw


class WebSearchHitOut(msgspec.Struct, tag_field="type", tag="web_search_result", gc=False):
    """One hit; what its page says is sealed, since only the model is to read it."""

    title: str
    url: str
    encrypted_content: str
    page_age: str | None = None


class WebSearchErrorOut(msgspec.Struct, tag_field="type", tag="web_search_tool_result_error", gc=False):
    """A search that gave nothing."""

    error_code: WebSearchErrorCode


class WebSearchToolResultOut(msgspec.Struct, tag_field="type", tag="web_search_tool_result"):
    """What a search gave back."""

    tool_use_id: str
    content: list[WebSearchHitOut] | WebSearchErrorOut


class PlainTextOut(msgspec.Struct, tag_field="type", tag="text", gc=False):
    """The text of a document."""

    data: str
    media_type: Literal["text/plain"] = "text/plain"


class CitationsOut(msgspec.Struct, gc=False):
    """Whether a document may be cited."""

    enabled: bool


class DocumentOut(msgspec.Struct, tag_field="type", tag="document"):
    """A page that was fetched."""

    source: PlainTextOut
    title: str | None = None
    citations: CitationsOut | None = None


class WebFetchResultOut(msgspec.Struct, tag_field="type", tag="web_fetch_result"):
    """A page, where it is and when it was read (ISO 8601)."""

    url: str
    content: DocumentOut
    retrieved_at: str | None = None


class WebFetchErrorOut(msgspec.Struct, tag_field="type", tag="web_fetch_tool_result_error", gc=False):
    """A page that was not fetched."""

    error_code: WebFetchErrorCode


class WebFetchToolResultOut(msgspec.Struct, tag_field="type", tag="web_fetch_tool_result"):
    """What a fetch gave back."""

    tool_use_id: str
    content: WebFetchResultOut | WebFetchErrorOut


class ToolReferenceOut(msgspec.Struct, tag_field="type", tag="tool_reference", gc=False):
    """Names a deferred tool that is loaded from here on."""

    tool_name: str


class ToolSearchResultOut(msgspec.Struct, tag_field="type", tag="tool_search_tool_search_result"):
    """The deferred tools that a search found, the best first."""

    tool_references: list[ToolReferenceOut]


class ToolSearchErrorOut(msgspec.Struct, tag_field="type", tag="tool_search_tool_result_error", gc=False):
    """A search for tools that gave nothing."""

    error_code: ToolSearchErrorCode
    error_message: str | None = None


class ToolSearchToolResultOut(msgspec.Struct, tag_field="type", tag="tool_search_tool_result"):
    """What a search for tools gave back."""

    tool_use_id: str
    content: ToolSearchResultOut | ToolSearchErrorOut


ServerResultOut = WebSearchToolResultOut | WebFetchToolResultOut | ToolSearchToolResultOut
BlockOut = TextOut | ThinkingOut | ToolUseOut | ServerToolUseOut | ServerResultOut


class CacheCreation(msgspec.Struct, gc=False):
    """Tokens written to a cache by lifetime: engines' prefix caches report none."""

    ephemeral_5m_input_tokens: int = 0
    ephemeral_1h_input_tokens: int = 0


class OutputTokensDetails(msgspec.Struct, gc=False):
    """How many of the output tokens were thinking."""

    thinking_tokens: int = 0


class ServerToolUsage(msgspec.Struct, gc=False):
    """How often tools of the web ran here; those that failed are not counted."""

    web_search_requests: int = 0
    web_fetch_requests: int = 0


class Usage(msgspec.Struct, kw_only=True):
    """Token counts; input, cache_creation and cache_read are disjoint."""

    input_tokens: int
    output_tokens: int
    cache_creation_input_tokens: int = 0
    cache_read_input_tokens: int = 0
    cache_creation: CacheCreation | None = None
    output_tokens_details: OutputTokensDetails | None = None
    server_tool_use: ServerToolUsage | None = None
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
