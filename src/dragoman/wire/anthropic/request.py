"""Requests of the Messages API."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from dragoman.wire.anthropic.blocks import CacheControl, ContentBlock, TextBlock
from dragoman.wire.anthropic.context import ContextManagement, Thread

Effort = Literal["low", "medium", "high", "xhigh", "max"]
Display = Literal["summarized", "omitted", "updates"]


class JsonOutputFormat(msgspec.Struct, tag_field="type", tag="json_schema"):
    """Asks for an answer that matches a JSON Schema (its bytes are kept)."""

    schema: Raw


class OutputConfig(msgspec.Struct, kw_only=True):
    """How the answer should come: effort, format; a task budget is accepted and has no effect."""

    effort: Effort | None = None
    format: JsonOutputFormat | None = None
    task_budget: Raw | UnsetType = UNSET


class NoContent(list[ContentBlock]):
    """The empty content of a turn that came without the key: only a system turn that sets an effort may."""


class Message(msgspec.Struct, kw_only=True):
    """One turn of the conversation."""

    role: Literal["user", "assistant", "system"]
    content: str | list[ContentBlock] = msgspec.field(default_factory=NoContent)
    clear_at: str | None = None
    output_config: OutputConfig | None = None


class ThinkingEnabled(msgspec.Struct, tag_field="type", tag="enabled", kw_only=True):
    """Thinking with a budget in tokens."""

    budget_tokens: int
    display: Display | None = None
    block_binding: Raw | UnsetType = UNSET


class ThinkingAdaptive(msgspec.Struct, tag_field="type", tag="adaptive", kw_only=True):
    """Thinking as much as the model finds right."""

    display: Display | None = None
    block_binding: Raw | UnsetType = UNSET


class ThinkingDisabled(msgspec.Struct, tag_field="type", tag="disabled"):
    """No thinking."""


class ThinkingBetweenTools(msgspec.Struct, tag_field="type", tag="between_tools"):
    """Thinking between calls only."""


Thinking = ThinkingEnabled | ThinkingAdaptive | ThinkingDisabled | ThinkingBetweenTools


class ToolChoiceAuto(msgspec.Struct, tag_field="type", tag="auto", kw_only=True):
    """The model decides."""

    disable_parallel_tool_use: bool | None = None


class ToolChoiceAny(msgspec.Struct, tag_field="type", tag="any", kw_only=True):
    """Some tool must be called."""

    disable_parallel_tool_use: bool | None = None


class ToolChoiceTool(msgspec.Struct, tag_field="type", tag="tool", kw_only=True):
    """This tool must be called."""

    name: str
    disable_parallel_tool_use: bool | None = None


class ToolChoiceNone(msgspec.Struct, tag_field="type", tag="none"):
    """No call; the tools stay in the prompt."""


ToolChoice = ToolChoiceAuto | ToolChoiceAny | ToolChoiceTool | ToolChoiceNone


class UserLocation(msgspec.Struct, tag_field="type", tag="approximate", kw_only=True):
    """Roughly where a user is: for a search."""

    city: str | None = None
    region: str | None = None
    country: str | None = None
    timezone: str | None = None


class CitationsConfig(msgspec.Struct, kw_only=True):
    """Whether what is fetched may be cited."""

    enabled: bool = False


class Tool(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Any tool: `type` may be missing, so all kinds share this struct; `translate` dispatches on `type`."""

    name: str | None = None
    type: str | None = None
    description: str | None = None
    input_schema: Raw | UnsetType = UNSET
    cache_control: CacheControl | None = None
    strict: bool | None = None
    eager_input_streaming: bool | None = None
    defer_loading: bool | None = None
    input_examples: Raw | UnsetType = UNSET
    allowed_callers: Raw | UnsetType = UNSET
    display_width_px: int | None = None
    display_height_px: int | None = None
    display_number: int | None = None
    enable_zoom: bool | None = None
    max_characters: int | None = None
    max_uses: Annotated[int, Meta(ge=1)] | None = None
    allowed_domains: list[str] | None = None
    blocked_domains: list[str] | None = None
    user_location: UserLocation | None = None
    max_content_tokens: Annotated[int, Meta(ge=1)] | None = None
    citations: CitationsConfig | None = None
    url_sources: dict[str, Any] | None = None
    response_inclusion: str | None = None
    use_cache: bool | None = None


class Metadata(msgspec.Struct, kw_only=True):
    """`user_id` may hold a session (Claude Code sends JSON in it)."""

    user_id: str | None = None


class CountTokensRequest(msgspec.Struct, kw_only=True):
    """Body of POST /v1/messages/count_tokens: what shapes the prompt, and nothing else.

    Only a request that continues a thread may come without messages.
    """

    model: Annotated[str, Meta(min_length=1)]
    messages: Annotated[list[Message], Meta(max_length=100_000)]
    system: str | list[TextBlock] | None = None
    tools: list[Tool] | None = None
    tool_choice: ToolChoice | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None
    metadata: Metadata | None = None
    session_id: str | int | None = None
    cache_control: CacheControl | None = None
    speed: str | None = None
    context_management: ContextManagement | None = None
    mcp_servers: list[Any] | None = None
    container: Any = None
    thread: Thread | None = None
    compaction: Any = None
    billing_policy: Any = None
    user_profile_id: Any = None
    workspace_id: Any = None


class MessagesRequest(CountTokensRequest, kw_only=True):
    """Body of POST /v1/messages.

    Fields typed Any are accepted and have no effect, or are refused by `translate`.
    """

    max_tokens: Annotated[int, Meta(ge=0)]
    stream: bool | None = None
    stop_sequences: list[str] | None = None
    temperature: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_k: Annotated[int, Meta(ge=0)] | None = None
    service_tier: str | None = None
    inference_geo: str | None = None
    diagnostics: Any = None
    fallbacks: Any = None
    fallback_credit_token: Any = None
    safeguards: Any = None
    tags: Any = None
