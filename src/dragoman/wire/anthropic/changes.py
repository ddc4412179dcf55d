"""Changes of the tools inside a conversation: what `tool_addition` and `tool_removal` hold."""

from __future__ import annotations

from typing import TypeVar

import msgspec
from msgspec import Raw

from dragoman.errors import InvalidRequestError
from dragoman.wire.anthropic.explain import explain
from dragoman.wire.anthropic.request import Tool

T = TypeVar("T")


class NamedTool(msgspec.Struct, tag_field="type", tag="tool_reference", kw_only=True):
    """A tool by its name; `tool_name` is how a result spells the same."""

    name: str | None = None
    tool_name: str | None = None


class MCPTool(msgspec.Struct, tag_field="type", tag="mcp_tool_reference"):
    """A tool of an MCP server, by the names of both."""

    name: str
    server_name: str


class MCPToolset(msgspec.Struct, tag_field="type", tag="mcp_toolset_reference"):
    """All tools of an MCP server."""

    server_name: str


class DefinedTool(msgspec.Struct, tag_field="type", tag="tool_definition"):
    """A tool by value: what an entry of the request's `tools` holds."""

    definition: Tool


Reference = NamedTool | MCPTool | MCPToolset


class Addition(msgspec.Struct, tag_field="type", tag="tool_addition"):
    """A tool that can be called from here on."""

    tool: Reference | DefinedTool


class Removal(msgspec.Struct, tag_field="type", tag="tool_removal"):
    """A tool that cannot be called any more."""

    tool: Reference


Change = Addition | Removal


class _Changes(msgspec.Struct):
    tool_changes: list[Change] | None


_addition = msgspec.json.Decoder(Addition)
_removal = msgspec.json.Decoder(Removal)
_changes = msgspec.json.Decoder(_Changes)


def decode_addition(tool: Raw, path: object) -> Addition:
    """A `tool_addition` block's `tool`; what is wrong in it is named by its path below that of the block."""
    return _decode(_addition, b'{"type":"tool_addition","tool":%b}' % bytes(tool), Addition, path)


def decode_removal(tool: Raw, path: object) -> Removal:
    """The same for a `tool_removal` block."""
    return _decode(_removal, b'{"type":"tool_removal","tool":%b}' % bytes(tool), Removal, path)


def decode_changes(changes: Raw, path: object) -> list[Change]:
    """A compaction block's `tool_changes`, null read as none; `path` is the block's."""
    return _decode(_changes, b'{"tool_changes":%b}' % bytes(changes), _Changes, path).tool_changes or []


def _decode(decoder: msgspec.json.Decoder[T], data: bytes, kind: type[T], path: object) -> T:
    try:
        return decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequestError(f"{path}.{explain(error, kind, data)}") from error
