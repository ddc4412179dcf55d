"""Tools and tool_choice."""

from __future__ import annotations

import re
from typing import NamedTuple

import msgspec
from msgspec import Raw, UnsetType

from dragoman.errors import InvalidRequestError
from dragoman.translate.options import RequestOptions
from dragoman.translate.raw import object_text, raw_text
from dragoman.translate.tables import CLIENT_TOOLS, SERVER_TOOLS
from dragoman.wire.anthropic import request as messages_api
from dragoman.wire.anthropic.request import CountTokensRequest, Tool
from dragoman.wire.openai import ChatTool, FunctionSpec, ToolChoice

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}", re.ASCII)


class Tools(NamedTuple):
    """The declared tools: those in the prompt, and deferred ones that stay out of it."""

    shown: list[ChatTool]
    hidden: list[ChatTool]

    def named(self, *, hidden: bool) -> set[str]:
        """The names of one of the two lists."""
        return {tool.function.name for tool in (self.hidden if hidden else self.shown)}


def tools_of(request: CountTokensRequest, options: RequestOptions) -> Tools:
    """The request's tools, in order, their schemas byte for byte."""
    tools = Tools([], [])
    names: set[str] = set()
    if request.tools and not options.capabilities.tools:
        raise InvalidRequestError(f"tools: the model {options.model!r} does not take tools")
    for number, tool in enumerate(request.tools or ()):
        path = f"tools.{number}"
        written = _custom(tool, path)
        if written.function.name in names:
            raise InvalidRequestError(f"{path}.name: Tool names must be unique: {written.function.name!r}")
        names.add(written.function.name)
        (tools.hidden if tool.defer_loading else tools.shown).append(written)
    return tools


def _custom(tool: Tool, path: str) -> ChatTool:
    if tool.type not in {None, "custom"}:
        raise _not_available(str(tool.type), path)
    if tool.name is None:
        raise InvalidRequestError(f"{path}.name: Field required")
    if not _NAME.fullmatch(tool.name):
        raise InvalidRequestError(f"{path}.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'")
    return ChatTool(
        function=FunctionSpec(
            name=tool.name, parameters=_schema(tool, path), description=tool.description, strict=tool.strict
        )
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
    examples = _examples(tool, path)
    if examples is None:
        return schema
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


class Choice(NamedTuple):
    """How tools may be used; both None where nothing was said."""

    mode: ToolChoice | None
    parallel: bool | None


def choice_of(request: CountTokensRequest, tools: Tools, options: RequestOptions) -> Choice:
    """The request's tool_choice; without tools only one that forces a call is a mistake."""
    asked = request.tool_choice
    if asked is None:
        return Choice(None, None)
    mode = _mode(asked, tools, options)
    single = not isinstance(asked, messages_api.ToolChoiceNone) and asked.disable_parallel_tool_use
    if not tools.shown:
        return Choice(None, None)
    return Choice(mode, False if single else None)


def _mode(asked: messages_api.ToolChoice, tools: Tools, options: RequestOptions) -> ToolChoice:
    if isinstance(asked, messages_api.ToolChoiceAuto):
        return ToolChoice("auto")
    if isinstance(asked, messages_api.ToolChoiceNone):
        return ToolChoice("none")
    if isinstance(asked, messages_api.ToolChoiceTool):
        _check_named(asked.name, tools)
        forced = ToolChoice("function", asked.name)
    else:
        if not tools.shown:
            raise InvalidRequestError("tool_choice: `any` needs at least one tool that is not deferred")
        forced = ToolChoice("required")
    if not options.capabilities.forced_tools:
        raise InvalidRequestError(
            f"tool_choice: the engine of the model {options.model!r} cannot force a call"
        )
    return forced


def _check_named(name: str, tools: Tools) -> None:
    if name in tools.named(hidden=True):
        raise InvalidRequestError(f"tool_choice.name: Tool {name!r} is deferred (defer_loading), not loaded")
    if name not in tools.named(hidden=False):
        raise InvalidRequestError(f"tool_choice.name: Tool {name!r} not found in provided tools")
