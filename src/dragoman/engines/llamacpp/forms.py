"""CallForms: asks for calls by the schemas of their tools, and loosens those that llama.cpp cannot follow."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from dragoman.engines.base import ChatStream
from dragoman.engines.dialects.errors import ContextOverflowError
from dragoman.engines.llamacpp.schema import call_format, loose, shape_of
from dragoman.errors import InvalidRequestError
from dragoman.wire.openai import ChatMessage, ChatRequest, ChatTool

Send = Callable[[ChatRequest, Mapping[str, Any]], Awaitable[ChatStream]]
# Clients bring the same tools in every turn; a schema that is forgotten is only tried again.
MOST_KNOWN = 256


class CallForms:
    """What is known of the schemas that one llama.cpp was asked to follow.

    A schema that it refuses is tried by itself, once. Of one that it cannot follow the names of the arguments
    and which are required are kept; where even these are refused, the arguments are any object. Strict tools
    stay as they are.
    """

    def __init__(self, send: Send) -> None:
        self._send = send
        self._known: dict[bytes, ChatTool] = {}

    async def called(self, asked: ChatRequest, tools: list[ChatTool], more: Mapping[str, Any]) -> ChatStream:
        """The stream of a call of one of the tools; `asked` is all but the form."""
        known = [self._as_known(tool) for tool in tools]
        try:
            return await self._send(_formed(asked, known), more)
        except ContextOverflowError:
            raise
        except InvalidRequestError:
            followed = [
                tool if tool.function.strict else await self._followed(asked.model, tool) for tool in tools
            ]
            if followed == known:
                if all(tool.function.strict for tool in tools):
                    raise
                # each is followed alone, but not all together; or it is not the form that is refused
                followed = [tool if tool.function.strict else loose(tool) for tool in tools]
        return await self._send(_formed(asked, followed), more)

    def _as_known(self, tool: ChatTool) -> ChatTool:
        if tool.function.strict:
            return tool
        found = self._known.get(bytes(tool.function.parameters))
        return tool if found is None else _with_schema_of(tool, found)

    async def _followed(self, model: str, tool: ChatTool) -> ChatTool:
        """The tool with as much of its schema as llama.cpp can follow."""
        key = bytes(tool.function.parameters)
        if key not in self._known:
            found = await self._tightest(model, tool)
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            self._known[key] = found
        return self._as_known(tool)

    async def _tightest(self, model: str, tool: ChatTool) -> ChatTool:
        for one in (tool, shape_of(tool)):
            if one is not None and await self._is_followed(model, one):
                return one
        return loose(tool)

    async def _is_followed(self, model: str, tool: ChatTool) -> bool:
        """Whether a call of that tool can be asked for, tried with next to no prompt."""
        turn = ChatMessage(role="user", content="-")
        trial = ChatRequest(model=model, messages=[turn], max_tokens=1)
        try:
            stream = await self._send(_formed(trial, [tool]), {})
        except InvalidRequestError:
            return False
        await stream.aclose()
        return True


def _formed(asked: ChatRequest, tools: list[ChatTool]) -> ChatRequest:
    return msgspec.structs.replace(asked, response_format=call_format(tools))


def _with_schema_of(tool: ChatTool, other: ChatTool) -> ChatTool:
    function = msgspec.structs.replace(tool.function, parameters=other.function.parameters)
    return msgspec.structs.replace(tool, function=function)
