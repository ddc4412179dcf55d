"""Generated blocks of content, every text in them marked."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

from tests.support.translation import document, search_result, text

if TYPE_CHECKING:
    from tests.support.agent_loops import Loop

# Any text but one in which a mark, or a part of one, could stand.
WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"], exclude_characters="#"), max_size=6)


def contents(
    draw: st.DrawFn, loop: Loop, kind: str, where: list[str], images: list[str]
) -> list[dict[str, Any]]:
    """The blocks of one kind of content; their texts' marks and their images go to the lists, in order."""

    def mark() -> str:
        return loop.mark(draw(WORDS), where)

    if kind == "text":
        return [text(mark())]
    if kind == "image":
        return [loop.image(images)]
    if kind == "document":
        title, context = mark(), mark()
        inner = [
            text(mark()) if inside == "text" else loop.image(images)
            for inside in draw(st.lists(st.sampled_from(["text", "image"]), max_size=3))
        ]
        source = inner or mark()
        return [document(source, title=title, context=context)]
    if kind == "search":
        source, title = mark(), mark()
        return [search_result(mark(), mark(), source=source, title=title)]
    return [_browser(mark)] if kind == "browser" else _history(draw, mark)


def _browser(mark: Callable[[], str]) -> dict[str, Any]:
    tab = {"title": mark(), "url": mark(), "tab_id": mark(), "active": True}
    return {"type": "browser_state", "tabs": [tab]}


def _history(draw: st.DrawFn, mark: Callable[[], str]) -> list[dict[str, Any]]:
    """A call of a tool that ran elsewhere, and its result in one of its forms."""
    asked = {"type": "server_tool_use", "id": mark(), "name": mark(), "input": {"z": mark(), "a": 1}}
    answer_id = mark()
    kind, content = draw(st.sampled_from([_hits, _output, _error, _page]))(mark)
    return [asked, {"type": kind, "tool_use_id": answer_id, "content": content}]


def _hits(mark: Callable[[], str]) -> tuple[str, Any]:
    hit = {"type": "web_search_result", "title": mark(), "url": mark(), "encrypted_content": "x"}
    return "web_search_tool_result", [hit, {"type": "web_search_result", "title": mark(), "url": mark()}]


def _output(mark: Callable[[], str]) -> tuple[str, Any]:
    return "code_execution_tool_result", {
        "type": "code_execution_result",
        "return_code": 0,
        "stdout": mark(),
        "stderr": mark(),
        "content": [],
    }


def _error(mark: Callable[[], str]) -> tuple[str, Any]:
    return "tool_search_tool_result", {
        "type": "tool_search_tool_result_error",
        "error_code": mark(),
        "error_message": mark(),
    }


def _page(mark: Callable[[], str]) -> tuple[str, Any]:
    return "web_fetch_tool_result", {
        "type": "web_fetch_result",
        "url": mark(),
        "content": document(title=mark(), context=mark(), source=mark()),
    }
