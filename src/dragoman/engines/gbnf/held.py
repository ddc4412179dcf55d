"""Schemas on their way to llama.cpp: those that an answer must be held to, and those of plain tools."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

import msgspec

from dragoman.engines.gbnf.keywords import NESTING, TYPES, NotFollowedError, Schema
from dragoman.engines.gbnf.patterns import MOST_REPETITIONS, followed_pattern
from dragoman.engines.gbnf.schema import MOST_LEVELS, followed_schema
from dragoman.engines.gbnf.typed import LONGEST, MOST_ITEMS_OR_NONE
from dragoman.errors import InvalidRequestError
from dragoman.wire.nesting import Steps, shown
from dragoman.wire.openai import ChatRequest, ChatTool, JsonFormat

# A pattern of these characters breaks nothing, whatever llama.cpp makes of it; others without anchors
# it ignores.
_harmless = re.compile(r"[^^].*|.*[^$]|\^[\w :;,/@#<>=~()|\[\]*+?-]*\$", re.ASCII | re.DOTALL).fullmatch
_name = re.compile(r"[\w ]+", re.ASCII).fullmatch
# Least and most: where these are the wrong way round, llama.cpp hangs.
_BOUNDS = {"minItems": "maxItems", "minLength": "maxLength", "minimum": "maximum"}
_UPPER_BOUNDS = frozenset({"maxItems", "maxLength"})
_BY_NAME = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})
_LISTS = frozenset({"allOf", "anyOf", "oneOf", "prefixItems", "items"})
_SCHEMAS = frozenset({"items", "additionalProperties", "not", "contains", "if", "then", "else"})


def held_format(output: JsonFormat) -> JsonFormat:
    """A format that llama.cpp follows to the letter; one that was made here already is such a format."""
    return (
        msgspec.structs.replace(output, schema=_held(output.schema, output.path)) if output.path else output
    )


def held_tools(request: ChatRequest) -> list[ChatTool]:
    """The tools: strict ones with schemas that are followed to the letter, others with what is taken."""
    return [held_tool(tool, request) for tool in request.tools]


def held_tool(tool: ChatTool, request: ChatRequest) -> ChatTool:
    """One tool of a request."""
    given = tool.function.parameters
    # a definition that another one took the place of still stands in the prompt's head
    place = request.schema_places.get(tool.function.name, "tools")
    try:
        schema = _held(given, place) if tool.function.strict else _taken(bytes(given))
    except RecursionError:
        raise too_deep(tool) from None
    if schema is None:
        return tool
    return msgspec.structs.replace(tool, function=msgspec.structs.replace(tool.function, parameters=schema))


def too_deep(tool: ChatTool) -> InvalidRequestError:
    """The error for a tool's schema that cannot be written anew, level by level."""
    return InvalidRequestError(f"tools: the schema of {tool.function.name!r} is nested too deep")


def _held(schema: msgspec.Raw, place: str) -> msgspec.Raw:
    found = _followed(bytes(schema))
    if isinstance(found, msgspec.Raw):
        return found
    steps, keyword = found
    if keyword == NESTING:
        raise InvalidRequestError(
            f"{place}.{shown(steps)}: the engine cannot hold its answer to a schema that is nested deeper "
            f"than {MOST_LEVELS} schemas"
        )
    path = "".join(f".{step}" for step in steps)
    raise InvalidRequestError(f"{place}{path}: the engine cannot hold its answer to `{keyword}` here")


@lru_cache(maxsize=256)
def _followed(schema: bytes) -> msgspec.Raw | tuple[Steps, str]:
    """The schema to follow, or the path and the keyword that cannot be followed."""
    try:
        return msgspec.Raw(msgspec.json.encode(followed_schema(msgspec.json.decode(schema))))
    except NotFollowedError as error:
        return error.path, error.keyword
    except RecursionError:
        return (), "$ref"


@lru_cache(maxsize=256)
def _taken(schema: bytes) -> msgspec.Raw | None:
    """A plain tool's schema without what llama.cpp refuses a request for; None where it takes it as it is."""
    root = msgspec.json.decode(schema)
    found = _plain(root, root)
    return None if found == root else msgspec.Raw(msgspec.json.encode(found))


def _plain(schema: Any, root: Any) -> Any:
    if isinstance(schema, bool):
        return {} if schema else {"not": {}}
    if not isinstance(schema, dict):
        return schema
    return {
        key: _member(key, value, root) for key, value in schema.items() if _is_taken(key, value, schema, root)
    }


def _member(key: str, value: Any, root: Any) -> Any:
    if key in _BY_NAME and isinstance(value, dict):
        return {name: _plain(one, root) for name, one in value.items()}
    if key in _LISTS and isinstance(value, list):
        return [_plain(one, root) for one in value]
    if key == "additionalProperties" and isinstance(value, bool):
        return value
    if key == "pattern" and isinstance(value, str) and not _harmless(value):
        return followed_pattern(value)
    return _plain(value, root) if key in _SCHEMAS else value


def _is_taken(key: str, value: Any, schema: Schema, root: Any) -> bool:
    """Whether a member of a schema can go as it is, or in another form."""
    if key == "$ref":
        return isinstance(value, str) and _is_found(value, root)
    if key == "enum":
        return bool(value)
    if key == "type":
        kinds = value if isinstance(value, list) else [value]
        return bool(kinds) and all(kind in TYPES for kind in kinds)
    if key == "pattern":
        return isinstance(value, str) and bool(_harmless(value) or followed_pattern(value))
    if key in _UPPER_BOUNDS:
        return _is_upper_bound(key, value)
    if key in _BOUNDS:
        return _is_bound(key, value, schema.get(_BOUNDS[key]))
    if key == "additionalProperties":
        return value is False or all(_name(name) for name in schema.get("properties") or ())
    return True


def _is_bound(key: str, least: Any, most: Any) -> bool:
    """Whether a lower bound is one, beside the upper one."""
    if not isinstance(least, int | float) or (key != "minimum" and least > MOST_REPETITIONS):
        return False
    return not isinstance(most, int | float) or least <= most


def _is_upper_bound(key: str, most: Any) -> bool:
    """Whether llama.cpp reads an upper bound: it refuses some numbers of items, and what is too large."""
    if not isinstance(most, int | float):
        return True
    return most <= LONGEST and not (key == "maxItems" and MOST_ITEMS_OR_NONE < most <= MOST_ITEMS_OR_NONE + 3)


def _is_found(ref: str, root: Any) -> bool:
    """Whether a reference is one that llama.cpp finds: by names as they are written."""
    if not ref.startswith("#/"):
        return False
    found = root
    for name in ref[2:].split("/"):
        if not isinstance(found, dict) or name not in found:
            return False
        found = found[name]
    return True
