"""Runs an answer's calls of server tools; whatever goes wrong becomes a result that says so."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import TypeVar, get_args

import msgspec

from dragoman.observe.logs import log
from dragoman.server_tools.base import Hit, Page, SearchScope, ServerToolError, ServerTools
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
_LONGEST_TITLE = 500
# Of one search: more than any engine gives, so that none can fill the model's context.
_MOST_HITS = 20
_LONGEST_HIT = 10_000
# Backends have limits of their own; one that forgot them must not hold an answer for ever.
_SECONDS = 120.0
# A model may call any number of tools in a breath; no more of them run at a time.
_AT_ONCE = 8
_CODES: dict[Kind, tuple[str, ...]] = {
    "web_search": get_args(out.WebSearchErrorCode),
    "web_fetch": get_args(out.WebFetchErrorCode),
    "tool_search": get_args(out.ToolSearchErrorCode),
}


Found = TypeVar("Found", Hit, Page)


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
        self._room = asyncio.Semaphore(_AT_ONCE)

    async def run(
        self, calls: Sequence[ServerCall], messages: Sequence[ChatMessage]
    ) -> list[out.ServerResultOut]:
        """The results of a round's calls, some of which run at a time; `messages` is what was said before."""
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
            async with self._room, asyncio.timeout(_SECONDS):
                return await self._given(call, tool, messages)
        except ServerToolError as error:
            code = error.code if error.code in _CODES[tool.kind] else "unavailable"
            self._note(tool, code, error.detail or error.code)
        except asyncio.CancelledError as error:
            if _is_to_end():
                raise
            # a task of the backend's own was cancelled, not the answer
            code = "unavailable"
            self._note(tool, code, type(error).__name__, error)
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
        allowed = (hit for hit in hits if is_allowed(hit.url, tool))
        return out.WebSearchToolResultOut(
            call.our_id, [self._hit(hit) for hit in islice(allowed, _MOST_HITS)]
        )

    def _hit(self, hit: Hit) -> out.WebSearchHitOut:
        hit = _proper(hit)
        return out.WebSearchHitOut(
            title=_cut(hit.title, _LONGEST_TITLE),
            url=hit.url,
            encrypted_content=self._seal(_cut(hit.text, _LONGEST_HIT)),
            page_age=hit.age,
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
        page = _proper(await self._tools.web_fetch.fetch(url))
        if not is_allowed(page.url, tool):
            raise ServerToolError("url_not_allowed", "it leads to a domain that the request shuts out")
        most = tool.max_content_tokens
        longest = _LONGEST_PAGE if most is None else min(most * _LETTERS_PER_TOKEN, _LONGEST_PAGE)
        document = out.DocumentOut(
            source=out.PlainTextOut(_cut(page.text, longest)),
            title=None if page.title is None else _cut(page.title, _LONGEST_TITLE),
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


def _is_to_end() -> bool:
    """Whether it is the running task that was cancelled, and not something it waits for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _cut(text: str, most: int) -> str:
    """As much of a text as a model can use; the rest is spoken of."""
    return text if len(text) <= most else f"{text[:most]}\n[cut here: {len(text) - most} more characters]"


def _proper(found: Found) -> Found:
    """What a backend gave, where it is what it says; without halves of surrogate pairs.

    Structs take any values: a wrong one has to fail here, not where the answer is written.
    """
    members = msgspec.structs.asdict(found)
    texts = {key: _unicode(value) for key, value in members.items() if isinstance(value, str)}
    return msgspec.convert(members | texts, type=type(found))


def _unicode(text: str) -> str:
    return text if text.isascii() else text.encode(errors="replace").decode()


def _failed(call: ServerCall, tool: ServerTool, code: str) -> out.ServerResultOut:
    """A result that says what went wrong; the code was held against the tool's own before."""
    said = {"type": f"{tool.kind}_tool_result_error", "error_code": code}
    if tool.kind == "web_search":
        return out.WebSearchToolResultOut(call.our_id, msgspec.convert(said, out.WebSearchErrorOut))
    if tool.kind == "web_fetch":
        return out.WebFetchToolResultOut(call.our_id, msgspec.convert(said, out.WebFetchErrorOut))
    return out.ToolSearchToolResultOut(call.our_id, msgspec.convert(said, out.ToolSearchErrorOut))
