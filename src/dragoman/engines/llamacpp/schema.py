"""The JSON Schema of a call: an object with a tool's name and arguments that are valid for that tool."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from dragoman.wire.openai import ChatTool, JsonFormat

# Where the schemas of the arguments stand, so that references inside of one can be rewritten.
_PLACE = "#/$defs/"


def call_format(tools: Sequence[ChatTool]) -> JsonFormat:
    """The form of an answer that is one call of one of the tools."""
    arguments: dict[str, Any] = {}
    calls = []
    for number, tool in enumerate(tools):
        key = f"arguments{number}"
        arguments[key] = _moved(msgspec.json.decode(tool.function.parameters), _PLACE + key)
        calls.append(_call(tool.function.name, {"$ref": _PLACE + key}))
    schema: dict[str, Any] = {"$defs": arguments}
    schema.update(calls[0] if len(calls) == 1 else {"anyOf": calls})
    return JsonFormat(schema=msgspec.Raw(msgspec.json.encode(schema)), name="call")


def loose_call_format(tools: Sequence[ChatTool]) -> JsonFormat:
    """The same with any object as arguments, for an engine that cannot follow a tool's own schema."""
    schema = {"anyOf": [_call(tool.function.name, {"type": "object"}) for tool in tools]}
    return JsonFormat(schema=msgspec.Raw(msgspec.json.encode(schema)), name="call")


def _call(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {"name": {"const": name}, "arguments": arguments},
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }


def _moved(value: Any, place: str) -> Any:
    """A schema whose references to its own root point to its new place."""
    if isinstance(value, list):
        return [_moved(item, place) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: place + item[1:]
        if key == "$ref" and isinstance(item, str) and (item == "#" or item.startswith("#/"))
        else _moved(item, place)
        for key, item in value.items()
    }
