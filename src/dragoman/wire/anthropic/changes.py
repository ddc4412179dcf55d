"""Changes of the tools inside a conversation: what `tool_addition` and `tool_removal` hold."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

import msgspec
from msgspec import Raw

from dragoman.errors import InvalidRequestError
from dragoman.wire.anthropic.blocks import ToolAdditionBlock, ToolRemovalBlock
from dragoman.wire.anthropic.explain import explain
from dragoman.wire.anthropic.request import Tool
from dragoman.wire.anthropic.shape import unknown_paths

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


_KINDS: dict[str, tuple[type, type]] = {
    "tool_addition": (ToolAdditionBlock, Addition),
    "tool_removal": (ToolRemovalBlock, Removal),
}

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


def unknown_in_changes(messages: Any) -> list[str]:
    """Paths of the keys inside changes of the tools that no struct lists; `messages` is JSON of any shape."""
    found = []
    for number, message in enumerate(_listed(messages)):
        for index, block in enumerate(_listed(message.get("content"))):
            path = f"messages.{number}.content.{index}"
            found += [f"{path}.tool.{key}" for key in _unknown_in_tool(block)]
            for place, change in enumerate(_listed(block.get("tool_changes"))):
                outer, _ = _KINDS.get(str(change.get("type")), (None, None))
                unknown = [] if outer is None else unknown_paths(outer, change)
                unknown += [f"tool.{key}" for key in _unknown_in_tool(change)]
                found += [f"{path}.tool_changes.{place}.{key}" for key in unknown]
    return found


def _listed(value: Any) -> Iterator[dict[str, Any]]:
    """The items of a list, with an empty object for each that is none."""
    for item in value if isinstance(value, list) else ():
        yield item if isinstance(item, dict) else {}


def _unknown_in_tool(change: dict[str, Any]) -> list[str]:
    """What is not known below the `tool` of a change."""
    kind = str(change.get("type"))
    if kind not in _KINDS:
        return []
    paths = unknown_paths(_KINDS[kind][1], {"type": kind, "tool": change.get("tool")})
    return [path.removeprefix("tool.") for path in paths]
