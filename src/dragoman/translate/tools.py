"""Declared tools, each as a function."""

from __future__ import annotations

import re
from typing import NamedTuple

import msgspec
from msgspec import Raw, UnsetType

from dragoman.errors import InvalidRequestError
from dragoman.translate.client_tools import KNOWN_TOOLS, known_tool
from dragoman.translate.options import RequestOptions
from dragoman.translate.raw import object_text, raw_text
from dragoman.translate.server_tools import Kind, ServerTool, server_tool
from dragoman.translate.tables import CLIENT_TOOLS, SERVER_TOOLS
from dragoman.wire.anthropic.request import CountTokensRequest, Tool
from dragoman.wire.openai import ChatTool, FunctionSpec

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}", re.ASCII)


# Claude Code declares this deferred tool so that there is one; it stands for nothing.
_PLACEHOLDER = "DeferredToolPlaceholder"


class DeclaredTool(NamedTuple):
    """An entry of `tools`: its type, the function that it is here, and whether it waits to be loaded.

    path: where it stands in the request. here: what it is where it runs on this server.
    """

    kind: str
    tool: ChatTool
    deferred: bool
    path: str
    here: ServerTool | None = None


def tools_of(request: CountTokensRequest, options: RequestOptions) -> list[DeclaredTool]:
    """The request's tools, in order, their schemas byte for byte."""
    if request.tools and not options.capabilities.tools:
        raise InvalidRequestError(
            f"tools: the model {options.model!r} does not take tools: its chat template shows it none"
        )
    tools: list[DeclaredTool] = []
    names: set[str] = set()
    for number, entry in enumerate(request.tools or ()):
        path = f"tools.{number}"
        found = declared_tool(entry, path, options.server_tools)
        name = found.tool.function.name
        if name in names:
            raise InvalidRequestError(f"{path}.name: Tool names must be unique: {name!r}")
        names.add(name)
        if name != _PLACEHOLDER or not found.deferred:
            tools.append(found)
    return tools


def declared_tool(tool: Tool, path: str, available: frozenset[Kind] = frozenset()) -> DeclaredTool:
    """One entry of `tools`, or of an inline definition, by its type; `path` is its own."""
    kind = "custom" if tool.type is None else tool.type
    here = server_tool(tool, path, available)
    if here is not None:
        return DeclaredTool(kind, here.chat, bool(tool.defer_loading), path, here.tool)
    if kind == "custom":
        function = _custom(tool, path)
    elif kind in KNOWN_TOOLS:
        function = _known(tool, path)
    else:
        raise _not_available(kind, path)
    return DeclaredTool(kind, ChatTool(function=function), bool(tool.defer_loading), path)


def _custom(tool: Tool, path: str) -> FunctionSpec:
    if tool.name is None:
        raise InvalidRequestError(f"{path}.name: Field required")
    if not _NAME.fullmatch(tool.name):
        raise InvalidRequestError(f"{path}.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'")
    return FunctionSpec(
        name=tool.name, parameters=_schema(tool, path), description=tool.description, strict=tool.strict
    )


def _known(tool: Tool, path: str) -> FunctionSpec:
    known = known_tool(tool, path)
    parameters = _with_examples(known.parameters, tool, path)
    return FunctionSpec(
        name=known.name, parameters=parameters, description=known.description, strict=tool.strict
    )


def _not_available(kind: str, path: str) -> InvalidRequestError:
    if kind.startswith(SERVER_TOOLS):
        return InvalidRequestError(f"{path}: server tool {kind} is not available")
    if kind.startswith(CLIENT_TOOLS):
        return InvalidRequestError(f"{path}: tool type {kind} is not available; declare it as a custom tool")
    return InvalidRequestError(f"{path}.type: unknown tool type {kind!r} is not available")


def _schema(tool: Tool, path: str) -> Raw:
    """The tool's schema as it came; examples of input, where there are any, join it as its own keyword."""
    schema = tool.input_schema
    where = f"{path}.input_schema"
    if isinstance(schema, UnsetType):
        raise InvalidRequestError(f"{where}: Field required")
    text = object_text(schema, where)
    members = msgspec.json.decode(text, type=dict[str, Raw])
    if "type" not in members:
        raise InvalidRequestError(f"{where}.type: Field required")
    if msgspec.json.decode(members["type"]) != "object":
        raise InvalidRequestError(f"{where}.type: Input should be 'object'")
    for key, opening, shape in (("properties", b"{", "an object"), ("required", b"[", "an array")):
        if key in members and not bytes(members[key]).startswith((opening, b"null")):
            raise InvalidRequestError(f"{where}.{key}: Input should be {shape}")
    return _with_examples(schema, tool, path)


def _with_examples(schema: Raw, tool: Tool, path: str) -> Raw:
    """The schema with the tool's examples of input, where it has any."""
    examples = _examples(tool, path)
    if examples is None:
        return schema
    text = object_text(schema, path)
    members = msgspec.json.decode(text, type=dict[str, Raw])
    where = f"{path}.input_schema"
    if "examples" not in members:
        return Raw(f'{text[:-1]},"examples":{examples}}}')
    own = raw_text(members["examples"], f"{where}.examples")
    if not own.startswith("["):
        raise InvalidRequestError(f"{where}.examples: Input should be an array")
    both = [msgspec.json.decode(items, type=list[Raw]) for items in (own, examples)]
    return Raw(msgspec.json.encode(members | {"examples": both[0] + both[1]}))


def _examples(tool: Tool, path: str) -> str | None:
    if isinstance(tool.input_examples, UnsetType):
        return None
    text = raw_text(tool.input_examples, f"{path}.input_examples")
    if text == "null":
        return None
    if not text.startswith("["):
        raise InvalidRequestError(f"{path}.input_examples: Input should be an array")
    return text
