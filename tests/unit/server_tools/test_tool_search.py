"""The search for deferred tools."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import msgspec
import pytest

from dragoman.server_tools import ServerToolError, tool_search
from dragoman.server_tools.tool_search import find_tools
from dragoman.wire.openai import ChatTool, FunctionSpec

WORDS, REGEX = "tool_search_tool_bm25", "tool_search_tool_regex"


def tool(name: str, description: str | None = None, **properties: Any) -> ChatTool:
    schema = msgspec.Raw(msgspec.json.encode({"type": "object", "properties": properties}))
    return ChatTool(function=FunctionSpec(name=name, description=description, parameters=schema))


TOOLS = [
    tool("getWeather", "Tells the weather", city={"type": "string", "description": "Name of a town"}),
    tool("send_mail", "Sends a letter", to=True),
    tool("plain"),
]


@pytest.mark.parametrize(
    ("query", "names"),
    [("weather", ["getWeather"]), ("town", ["getWeather"]), ("mail letter", ["send_mail"]), ("nothing", [])],
)
async def test_by_words(query: str, names: list[str]) -> None:
    assert await find_tools(WORDS, query, TOOLS) == names


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("^GET", ["getWeather"]),
        ("mail|plain", ["send_mail", "plain"]),
        ("^city Name", ["getWeather"]),
        ("zzz", []),
    ],
)
async def test_by_an_expression(query: str, names: list[str]) -> None:
    assert await find_tools(REGEX, query, TOOLS) == names


async def test_five_are_given_at_most() -> None:
    many = [tool(f"tool_{number}") for number in range(9)]
    assert await find_tools(REGEX, "tool", many) == [f"tool_{number}" for number in range(5)]
    assert len(await find_tools(WORDS, "tool", many)) == 5


async def test_without_deferred_tools_nothing_is_found() -> None:
    assert await find_tools(REGEX, "x", []) == []
    assert await find_tools(WORDS, "x", []) == []


@pytest.mark.parametrize("pattern", ["(", "x" * 201])
async def test_what_is_no_expression_is_refused(pattern: str) -> None:
    with pytest.raises(ServerToolError) as refused:
        await find_tools(REGEX, pattern, TOOLS)
    assert refused.value.code == "invalid_tool_input"


async def test_an_expression_that_never_ends_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tool_search, "_SECONDS", 0.5)
    with pytest.raises(ServerToolError) as refused:
        await find_tools(REGEX, "(a+)+$", [tool("a" * 64 + "!")])
    assert refused.value.code == "execution_time_exceeded"


async def test_a_search_that_is_left_ends_its_process() -> None:
    task = asyncio.create_task(find_tools(REGEX, "(a+)+$", [tool("a" * 64 + "!")]))
    await asyncio.sleep(0.2)
    task.cancel()
    await asyncio.wait({task}, timeout=5)
    assert task.cancelled()


async def test_a_process_that_fails_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tool_search, "_PROGRAM", "raise SystemExit(9)")
    assert sys.executable
    with pytest.raises(ServerToolError) as refused:
        await find_tools(REGEX, "x", TOOLS)
    assert refused.value.code == "unavailable"
