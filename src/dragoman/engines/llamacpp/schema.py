"""The JSON Schema of a call: an object with a tool's name and arguments that are valid for that tool."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from dragoman.engines.gbnf.held import too_deep
from dragoman.wire.openai import ChatTool, JsonFormat

# Where the schemas of the arguments stand, so that references inside of one can be rewritten.
_PLACE = "#/$defs/"
# Members of a schema that hold values, not schemas, and those that hold schemas by name.
_VALUES = frozenset({"const", "enum", "default", "example", "examples"})
_BY_NAME = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})


class _Named(msgspec.Struct):
    """What a schema says by name."""

    properties: dict[str, Any] = {}
    required: list[str] = []


def call_format(tools: Sequence[ChatTool]) -> JsonFormat:
    """The form of an answer that is one call of one of the tools."""
    arguments: dict[str, Any] = {}
    calls = []
    for number, tool in enumerate(tools):
        key = f"arguments{number}"
        try:
            arguments[key] = _moved(msgspec.json.decode(tool.function.parameters), _PLACE + key)
        except RecursionError:
            raise too_deep(tool) from None
        calls.append(_call(tool.function.name, {"$ref": _PLACE + key}))
    schema: dict[str, Any] = {"$defs": arguments}
    schema.update(calls[0] if len(calls) == 1 else {"anyOf": calls})
    return JsonFormat(schema=msgspec.Raw(msgspec.json.encode(schema)), name="call")


def shape_of(tool: ChatTool) -> ChatTool | None:
    """The tool with only its arguments' names and which are required; None where its schema says no names."""
    try:
        schema = msgspec.json.decode(tool.function.parameters, type=_Named)
    except msgspec.ValidationError:
        return None
    names = dict.fromkeys([*schema.properties, *schema.required])
    if not names:
        return None
    shape = {"type": "object", "properties": {name: {} for name in names}, "required": schema.required}
    return _with_schema(tool, shape)


def loose(tool: ChatTool) -> ChatTool:
    """The tool with any object as arguments."""
    return _with_schema(tool, {"type": "object"})


def _with_schema(tool: ChatTool, schema: dict[str, Any]) -> ChatTool:
    raw = msgspec.Raw(msgspec.json.encode(schema))
    return msgspec.structs.replace(tool, function=msgspec.structs.replace(tool.function, parameters=raw))


def _call(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {"name": {"const": name}, "arguments": arguments},
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }


def _moved(schema: Any, place: str) -> Any:
    """A schema whose references to its own root point to its new place."""
    if isinstance(schema, list):
        return [_moved(one, place) for one in schema]
    if not isinstance(schema, dict):
        return schema
    return {key: _moved_member(key, value, place) for key, value in schema.items()}


def _moved_member(key: str, value: Any, place: str) -> Any:
    if key in _VALUES:
        return value
    if key in _BY_NAME and isinstance(value, dict):
        # here a key is a name, whatever it reads like
        return {name: _moved(one, place) for name, one in value.items()}
    if key == "$ref" and isinstance(value, str) and (value == "#" or value.startswith("#/")):
        return place + value[1:]
    return _moved(value, place)
