"""History of tools that ran elsewhere: calls and results that no engine can be given as such, as text.

The text of a block depends on nothing but the block, and not on the order of the keys in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from dragoman.translate.documents import opening
from dragoman.translate.raw import object_text
from dragoman.wire.anthropic.blocks import (
    BrowserStateBlock,
    MCPToolListingBlock,
    MCPToolResultBlock,
    MCPToolUseBlock,
    ServerResultBlock,
    ServerToolUseBlock,
)

HistoryBlock = (
    ServerToolUseBlock | ServerResultBlock | MCPToolUseBlock | MCPToolListingBlock | BrowserStateBlock
)
HISTORY = (ServerToolUseBlock, ServerResultBlock, MCPToolUseBlock, MCPToolListingBlock, BrowserStateBlock)

ERROR_MARK = "[error]"
# What a reader wants first; other keys follow by name.
_FIRST = (
    "name",
    "tool_name",
    "title",
    "url",
    "tab_id",
    "page_age",
    "retrieved_at",
    "context",
    "error_code",
    "error_message",
    "return_code",
    "stdout",
    "stderr",
    "description",
    "text",
    "data",
    "content",
)
_ORDER = {key: place for place, key in enumerate(_FIRST)}
# What a key says where its value alone says it.
_BARE = frozenset({"text", "data", "content", "source", "tool_references"})
_LEFT_OUT = frozenset({"type", "cache_control", "citations", "media_type"})
_AS_JSON = frozenset({"input_schema"})
# Deeper values are written as JSON: no history that a server writes goes so deep.
_DEEPEST = 6


def history_text(block: HistoryBlock, path: object) -> str:
    """A call or a result as lines of text between tags."""
    tag = str(block.__struct_config__.tag)
    return "\n".join([_head(block, tag), *filter(None, _body(block, path)), f"</{tag}>"])


def _head(block: HistoryBlock, tag: str) -> str:
    if isinstance(block, ServerToolUseBlock):
        return opening(tag, id=block.id, name=block.name)
    if isinstance(block, MCPToolUseBlock):
        return opening(tag, id=block.id, name=block.name, server=block.server_name)
    if isinstance(block, MCPToolListingBlock):
        return opening(tag, server=block.mcp_server_name)
    if isinstance(block, ServerResultBlock):
        return opening(tag, id=block.tool_use_id)
    return opening(tag)


def _body(block: HistoryBlock, path: object) -> Iterator[str]:
    if isinstance(block, ServerToolUseBlock | MCPToolUseBlock):
        yield object_text(block.input, path, ".input")
    elif isinstance(block, MCPToolListingBlock):
        yield from _lines(block.tools, 0)
    elif isinstance(block, BrowserStateBlock):
        yield from _lines(msgspec.to_builtins(block.tabs), 0)
        yield from _lines([_change(change) for change in block.state_changes or ()], 0)
    else:
        if isinstance(block, MCPToolResultBlock) and block.is_error:
            yield ERROR_MARK
        yield from _lines(block.content, 0)


def _change(change: dict[str, Any]) -> dict[str, Any]:
    """What happened in a browser; its type is what the model has to read."""
    return {"name": change.get("type"), **change}


def _lines(value: Any, depth: int) -> Iterator[str]:
    """The lines of any JSON value, without what is encrypted or in base64."""
    if isinstance(value, str):
        yield value
    elif depth > _DEEPEST:
        yield msgspec.json.encode(value, order="sorted").decode()
    elif isinstance(value, list):
        for item in value:
            yield from _item(item, depth)
    elif isinstance(value, dict):
        yield from _members(value, depth)
    elif value is not None and value is not msgspec.UNSET:
        yield msgspec.json.encode(value).decode()


def _item(item: Any, depth: int) -> Iterator[str]:
    """An item of a list; one with named members begins with a dash."""
    lines = [line for line in _lines(item, depth + 1) if line]
    if lines and isinstance(item, dict) and not {key for key in item if _is_read(key)} <= _BARE:
        lines[0] = f"- {lines[0]}"
    yield from lines


def _members(value: dict[str, Any], depth: int) -> Iterator[str]:
    kind = str(value.get("type"))
    if kind == "base64":
        yield f"[{value.get('media_type', 'data')} left out]"
        return
    if kind.endswith("_error"):
        yield ERROR_MARK
    for key in sorted(filter(_is_read, value), key=_place):
        lines = [line for line in _lines(value[key], _DEEPEST + 1 if key in _AS_JSON else depth + 1) if line]
        text = "\n".join(lines)
        if key in _BARE or not lines:
            yield from lines
        else:
            yield f"{key}:\n{text}" if "\n" in text else f"{key}: {text}"


def _is_read(key: str) -> bool:
    return key not in _LEFT_OUT and not key.startswith("encrypted_")


def _place(key: str) -> tuple[int, str]:
    return _ORDER.get(key, len(_ORDER)), key
