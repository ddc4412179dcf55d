"""Runs an answer's calls of server tools; whatever goes wrong becomes a result that says so."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import get_args

import msgspec

from dragoman.observe.logs import log
from dragoman.server_tools.base import SearchScope, ServerToolError, ServerTools
from dragoman.server_tools.domains import is_allowed, was_named
from dragoman.server_tools.tool_search import find_tools
from dragoman.translate.order import ServerCall
from dragoman.translate.server_tools import Kind, ServerTool
from dragoman.wire.anthropic import response as out
from dragoman.wire.openai import ChatMessage, ChatTool

_LONGEST_QUERY = 1024
_LONGEST_URL = 2048
_LETTERS_PER_TOKEN = 4
_LONGEST_PAGE = 400_000
# Backends have limits of their own; one that forgot them must not hold an answer for ever.
_SECONDS = 120.0
_CODES: dict[Kind, tuple[str, ...]] = {
    "web_search": get_args(out.WebSearchErrorCode),
    "web_fetch": get_args(out.WebFetchErrorCode),
    "tool_search": get_args(out.ToolSearchErrorCode),
}


class ToolRun:
    """The calls of one answer. `seal` closes what only this server is to read again, `now` is the time.

    deferred: the tools that a search may find. request_id: for the log.
    """

    def __init__(
        self,
        tools: ServerTools,
        declared: Mapping[str, ServerTool],
        deferred: Sequence[ChatTool],
        *,
        seal: Callable[[str], str],
        now: Callable[[], datetime],
        request_id: str = "",
    ) -> None:
        self._tools = tools
        self._declared = declared
        self._deferred = deferred
        self._seal = seal
        self._now = now
        self._request_id = request_id
        self._uses: Counter[str] = Counter()

    async def run(
        self, calls: Sequence[ServerCall], messages: Sequence[ChatMessage]
    ) -> list[out.ServerResultOut]:
        """The results of a round's calls, which run at the same time; `messages` is what was said before."""
        over = [self._is_over(call) for call in calls]
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._result(call, messages, is_over=is_over))
                for call, is_over in zip(calls, over, strict=True)
            ]
        return [task.result() for task in tasks]

    def _is_over(self, call: ServerCall) -> bool:
        """Counts a call; whether the request allows no more of them."""
        most = self._declared[call.name].max_uses
        self._uses[call.name] += 1
        return most is not None and self._uses[call.name] > most

    async def _result(
        self, call: ServerCall, messages: Sequence[ChatMessage], *, is_over: bool
    ) -> out.ServerResultOut:
        tool = self._declared[call.name]
        try:
            if is_over:
                raise ServerToolError("max_uses_exceeded")
            async with asyncio.timeout(_SECONDS):
                return await self._given(call, tool, messages)
        except ServerToolError as error:
            code = error.code if error.code in _CODES[tool.kind] else "unavailable"
            self._note(tool, code, error.detail or error.code)
        except Exception as error:  # noqa: BLE001 - a backend's own failure must not fail the answer
            code = "unavailable"
            self._note(tool, code, type(error).__name__, error)
        return _failed(call, tool, code)

    async def _given(
        self, call: ServerCall, tool: ServerTool, messages: Sequence[ChatMessage]
    ) -> out.ServerResultOut:
        if tool.kind == "web_search":
            return await self._search(call, tool, _argument(call, "query"))
        if tool.kind == "web_fetch":
            return await self._fetch(call, tool, _argument(call, "url"), messages)
        names = await find_tools(tool.name, _argument(call, "query"), self._deferred)
        found = out.ToolSearchResultOut([out.ToolReferenceOut(name) for name in names])
        return out.ToolSearchToolResultOut(call.our_id, found)

    async def _search(self, call: ServerCall, tool: ServerTool, query: str) -> out.ServerResultOut:
        if len(query) > _LONGEST_QUERY:
            raise ServerToolError("query_too_long")
        assert self._tools.web_search is not None, "a tool is declared only where it runs"
        scope = SearchScope(
            allowed_domains=tool.allowed_domains or (),
            blocked_domains=tool.blocked_domains,
            location=tool.user_location,
        )
        hits = await self._tools.web_search.search(query, scope)
        return out.WebSearchToolResultOut(
            call.our_id,
            [
                out.WebSearchHitOut(
                    title=_unicode(hit.title),
                    url=_unicode(hit.url),
                    encrypted_content=self._seal(_unicode(hit.text)),
                    page_age=hit.age,
                )
                for hit in hits
                if is_allowed(hit.url, tool)
            ],
        )

    async def _fetch(
        self, call: ServerCall, tool: ServerTool, url: str, messages: Sequence[ChatMessage]
    ) -> out.ServerResultOut:
        if len(url) > _LONGEST_URL:
            raise ServerToolError("url_too_long")
        if not url.lower().startswith(("http://", "https://")):
            raise ServerToolError("invalid_tool_input", "the address is not http or https")
        if not is_allowed(url, tool):
            raise ServerToolError("url_not_allowed")
        if not was_named(url, messages):
            raise ServerToolError("url_not_in_prior_context")
        assert self._tools.web_fetch is not None, "a tool is declared only where it runs"
        page = await self._tools.web_fetch.fetch(url)
        if not is_allowed(page.url, tool):
            raise ServerToolError("url_not_allowed", "it leads to a domain that the request shuts out")
        text = _cut(_unicode(page.text), tool.max_content_tokens)
        document = out.DocumentOut(
            source=out.PlainTextOut(text),
            title=None if page.title is None else _unicode(page.title),
            citations=out.CitationsOut(enabled=True) if tool.citations else None,
        )
        when = self._now().isoformat(timespec="seconds")
        fetched = out.WebFetchResultOut(url=page.url, content=document, retrieved_at=when)
        return out.WebFetchToolResultOut(call.our_id, fetched)

    def _note(self, tool: ServerTool, code: str, detail: str, failure: BaseException | None = None) -> None:
        fields: dict[str, str | int | float] = {"tool": tool.name, "code": code, "detail": detail}
        level = logging.WARNING if code == "unavailable" else logging.INFO
        log(level, "a server tool failed", {"request_id": self._request_id, **fields}, failure)


def _argument(call: ServerCall, name: str) -> str:
    value = msgspec.json.decode(call.arguments).get(name)
    if not isinstance(value, str) or not value.strip():
        raise ServerToolError("invalid_tool_input", f"{name} is missing or no text")
    return value.strip()


def _cut(text: str, tokens: int | None) -> str:
    """As much of a page as the request wants, and never more than a model can use; the rest is spoken of."""
    most = _LONGEST_PAGE if tokens is None else min(tokens * _LETTERS_PER_TOKEN, _LONGEST_PAGE)
    return text if len(text) <= most else f"{text[:most]}\n[cut here: {len(text) - most} more characters]"


def _unicode(text: str) -> str:
    """The text without halves of surrogate pairs, which no answer can hold."""
    return text.encode(errors="replace").decode()


def _failed(call: ServerCall, tool: ServerTool, code: str) -> out.ServerResultOut:
    """A result that says what went wrong; the code was held against the tool's own before."""
    said = {"type": f"{tool.kind}_tool_result_error", "error_code": code}
    if tool.kind == "web_search":
        return out.WebSearchToolResultOut(call.our_id, msgspec.convert(said, out.WebSearchErrorOut))
    if tool.kind == "web_fetch":
        return out.WebFetchToolResultOut(call.our_id, msgspec.convert(said, out.WebFetchErrorOut))
    return out.ToolSearchToolResultOut(call.our_id, msgspec.convert(said, out.ToolSearchErrorOut))
