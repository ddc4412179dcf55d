"""Content blocks of requests: one tagged union for user and assistant turns.

A block type that is known here may still be one that cannot reach a model; `translate` refuses those by name.
Keys that a struct does not list are accepted and have no effect.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, Raw, UnsetType


class CacheControl(msgspec.Struct, gc=False):
    """Accepted and without effect: prefix caches of engines are automatic."""

    type: str = "ephemeral"
    ttl: str | None = None


class Block(msgspec.Struct, tag_field="type", kw_only=True):
    """What every block has in common."""


class CachedBlock(Block, kw_only=True):
    """A block that may carry cache_control."""

    cache_control: CacheControl | None = None


class TextBlock(CachedBlock, tag="text"):
    """Text."""

    text: str
    citations: Raw | UnsetType = UNSET


# --- images ---


class Base64Source(msgspec.Struct, tag_field="type", tag="base64", gc=False):
    """Bytes in base64 with their media type."""

    data: str
    media_type: str


class URLSource(msgspec.Struct, tag_field="type", tag="url", gc=False):
    """An address."""

    url: str


class FileSource(msgspec.Struct, tag_field="type", tag="file", gc=False):
    """A file of the Files API."""

    file_id: str


class ImageBlock(CachedBlock, tag="image"):
    """An image."""

    source: Base64Source | URLSource | FileSource
    transformations: Raw | UnsetType = UNSET


# --- thinking and tools ---


class ThinkingBlock(Block, tag="thinking"):
    """Earlier thinking, with the signature that came with it."""

    thinking: str
    signature: str | None = None


class RedactedThinkingBlock(Block, tag="redacted_thinking"):
    """Thinking that only its maker can read."""

    data: str


class ToolUseBlock(CachedBlock, tag="tool_use"):
    """A call that the model made; `input` keeps the bytes of its JSON object."""

    id: str
    name: str
    input: Raw
    caller: Raw | UnsetType = UNSET
    toolset_name: str | None = None


class ToolReferenceBlock(CachedBlock, tag="tool_reference"):
    """Names a deferred tool that is now loaded."""

    tool_name: str


class SearchResultBlock(CachedBlock, tag="search_result"):
    """A search hit."""

    content: list[TextBlock]
    source: str
    title: str
    citations: Raw | UnsetType = UNSET


class PlainTextSource(msgspec.Struct, tag_field="type", tag="text", gc=False):
    """Plain text."""

    data: str
    media_type: str


class ContentSource(msgspec.Struct, tag_field="type", tag="content"):
    """Text and images: what a document says, or what its pages look like."""

    content: str | list[TextBlock | ImageBlock]


DocumentSource = Base64Source | PlainTextSource | ContentSource | URLSource | FileSource


class DocumentBlock(CachedBlock, tag="document"):
    """A document; files, addresses and PDF pages are resolved to a `ContentSource` before translation."""

    source: DocumentSource
    title: str | None = None
    context: str | None = None
    citations: Raw | UnsetType = UNSET


class BrowserTab(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A tab that is open in a browser."""

    tab_id: str
    title: str
    url: str
    active: bool = False


class BrowserStateBlock(CachedBlock, tag="browser_state"):
    """A browser after a call: its tabs, and what the call opened and loaded down."""

    tabs: list[BrowserTab]
    state_changes: list[dict[str, Any]] | None = None


ToolResultContent = (
    TextBlock | ImageBlock | SearchResultBlock | DocumentBlock | ToolReferenceBlock | BrowserStateBlock
)


class ToolResultBlock(CachedBlock, tag="tool_result"):
    """What a call gave back."""

    tool_use_id: str
    content: str | list[ToolResultContent] | None = None
    is_error: bool | None = None
    toolset_name: str | None = None


# --- history of tools that ran on a server, and beta blocks ---


class ServerToolUseBlock(CachedBlock, tag="server_tool_use"):
    """A call that a server ran."""

    id: str
    name: str
    input: Raw
    caller: Raw | UnsetType = UNSET


class ServerResultBlock(CachedBlock, kw_only=True):
    """What a server's tool gave back; the shape of `content` depends on the tool."""

    tool_use_id: str
    content: Any | UnsetType = UNSET


class WebSearchToolResultBlock(ServerResultBlock, tag="web_search_tool_result"):
    """Result of a server's web search."""

    caller: Raw | UnsetType = UNSET


class WebFetchToolResultBlock(ServerResultBlock, tag="web_fetch_tool_result"):
    """Result of a server's web fetch."""

    caller: Raw | UnsetType = UNSET


class CodeExecutionToolResultBlock(ServerResultBlock, tag="code_execution_tool_result"):
    """Result of a server's code execution."""


class BashCodeExecutionToolResultBlock(ServerResultBlock, tag="bash_code_execution_tool_result"):
    """Result of a server's shell."""


class TextEditorCodeExecutionToolResultBlock(ServerResultBlock, tag="text_editor_code_execution_tool_result"):
    """Result of a server's text editor."""


class ToolSearchToolResultBlock(ServerResultBlock, tag="tool_search_tool_result"):
    """Result of a server's search for tools."""


class AdvisorToolResultBlock(ServerResultBlock, tag="advisor_tool_result"):
    """Result of the advisor tool (beta)."""


class MCPToolResultBlock(ServerResultBlock, tag="mcp_tool_result"):
    """Result of a call to an MCP server (beta)."""

    is_error: bool | None = None


class MCPToolUseBlock(CachedBlock, tag="mcp_tool_use"):
    """A call to an MCP server (beta)."""

    id: str
    name: str
    input: Raw
    server_name: str = ""


class MCPToolListingBlock(CachedBlock, tag="mcp_tool_listing"):
    """Tools that an MCP server listed (beta)."""

    mcp_server_name: str = ""
    tools: Any = None


class ContainerUploadBlock(CachedBlock, tag="container_upload"):
    """A file for a server's container."""

    file_id: str


class FallbackBlock(CachedBlock, tag="fallback"):
    """Marks a change of model inside an answer (beta)."""

    from_: Raw | UnsetType = msgspec.field(default=UNSET, name="from")
    to: Raw | UnsetType = UNSET
    trigger: Raw | UnsetType = UNSET


class CompactionBlock(CachedBlock, tag="compaction"):
    """A summary that stands for earlier turns (beta)."""

    content: str | None = None
    encrypted_content: str | None = None
    signature: str | None = None
    tool_changes: Raw | UnsetType = UNSET


class ToolAdditionBlock(CachedBlock, tag="tool_addition"):
    """Makes a tool callable from here on (beta, system turns only)."""

    tool: Raw


class ToolRemovalBlock(CachedBlock, tag="tool_removal"):
    """Makes a tool no longer callable from here on (beta, system turns only)."""

    tool: Raw


ContentBlock = (
    TextBlock
    | ImageBlock
    | ThinkingBlock
    | RedactedThinkingBlock
    | ToolUseBlock
    | ToolResultBlock
    | ToolReferenceBlock
    | SearchResultBlock
    | DocumentBlock
    | ServerToolUseBlock
    | WebSearchToolResultBlock
    | WebFetchToolResultBlock
    | CodeExecutionToolResultBlock
    | BashCodeExecutionToolResultBlock
    | TextEditorCodeExecutionToolResultBlock
    | ToolSearchToolResultBlock
    | AdvisorToolResultBlock
    | MCPToolUseBlock
    | MCPToolResultBlock
    | MCPToolListingBlock
    | ContainerUploadBlock
    | FallbackBlock
    | CompactionBlock
    | ToolAdditionBlock
    | ToolRemovalBlock
)
