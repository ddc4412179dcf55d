"""tool_choice: which of the tools that can be called may, or must, be."""

from __future__ import annotations

from typing import NamedTuple

from dragoman.errors import InvalidRequestError
from dragoman.translate.options import RequestOptions
from dragoman.translate.tool_set import ToolSet
from dragoman.wire.anthropic import request as messages_api
from dragoman.wire.anthropic.request import CountTokensRequest
from dragoman.wire.openai import ToolChoice


class Choice(NamedTuple):
    """How tools may be used; both None where nothing was said."""

    mode: ToolChoice | None
    parallel: bool | None


def choice_of(request: CountTokensRequest, tools: ToolSet, options: RequestOptions) -> Choice:
    """The request's tool_choice; without tools only one that forces a call is a mistake."""
    asked = request.tool_choice
    mode = None if asked is None else _mode(asked, tools, options)
    if not tools.active:
        # those that the prompt shows were all removed since
        return Choice(ToolChoice("none") if tools.shown else None, None)
    if asked is None:
        return Choice(None, None)
    single = not isinstance(asked, messages_api.ToolChoiceNone) and asked.disable_parallel_tool_use
    return Choice(mode, False if single else None)


def _mode(asked: messages_api.ToolChoice, tools: ToolSet, options: RequestOptions) -> ToolChoice:
    if isinstance(asked, messages_api.ToolChoiceAuto):
        return ToolChoice("auto")
    if isinstance(asked, messages_api.ToolChoiceNone):
        return ToolChoice("none")
    if isinstance(asked, messages_api.ToolChoiceTool):
        _check_named(asked.name, tools)
        forced = ToolChoice("function", asked.name)
    else:
        if not tools.active:
            raise InvalidRequestError("tool_choice: `any` needs at least one tool that can be called")
        forced = ToolChoice("required")
    if not options.capabilities.forced_tools:
        raise InvalidRequestError(
            f"tool_choice: the engine of the model {options.model!r} cannot force a call"
        )
    return forced


def _check_named(name: str, tools: ToolSet) -> None:
    if name in tools.active:
        return
    if name in tools.known:
        raise InvalidRequestError(
            f"tool_choice.name: Tool {name!r} cannot be called here: it is deferred (defer_loading) and not "
            "loaded, or it was removed"
        )
    raise InvalidRequestError(f"tool_choice.name: Tool {name!r} not found in provided tools")
