"""The search for deferred tools: by words, or by a regular expression."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from typing import Any

import msgspec

from dragoman.server_tools.base import ServerToolError
from dragoman.server_tools.ranking import Ranking
from dragoman.wire.openai import ChatTool

_MOST_FOUND = 5
_LONGEST_PATTERN = 200
_SECONDS = 5.0
# A pattern comes from the model, and one that never ends cannot be stopped inside this process.
_PROGRAM = """
import json, re, sys
pattern, texts = json.load(sys.stdin)
try:
    search = re.compile(pattern, re.IGNORECASE | re.MULTILINE).search
except (re.error, OverflowError, RecursionError):
    sys.exit(3)
json.dump([number for number, text in enumerate(texts) if search(text)], sys.stdout)
"""


async def find_tools(name: str, query: str, deferred: Sequence[ChatTool]) -> list[str]:
    """The names of the deferred tools that a search finds: the best by words, the first by an expression."""
    texts = [_text(tool) for tool in deferred]
    numbers = await _matching(query, texts) if name.endswith("regex") else Ranking(texts).best(query)
    return [deferred[number].function.name for number in numbers[:_MOST_FOUND]]


def _text(tool: ChatTool) -> str:
    """What is searched: a tool's name, what it does, and its arguments."""
    function = tool.function
    lines = [function.name, function.description or ""]
    schema = msgspec.json.decode(function.parameters)
    properties = schema.get("properties")
    for name, about in (properties or {}).items():
        lines.append(f"{name} {_description(about)}".strip())
    return "\n".join(lines)


def _description(about: Any) -> str:
    found = about.get("description") if isinstance(about, dict) else None
    return found if isinstance(found, str) else ""


async def _matching(pattern: str, texts: list[str]) -> list[int]:
    """The numbers of the texts that an expression fits, found in a process that can be ended."""
    if len(pattern) > _LONGEST_PATTERN:
        raise ServerToolError("invalid_tool_input", f"a pattern has at most {_LONGEST_PATTERN} characters")
    if not texts:
        return []
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", "-c", _PROGRAM),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(_SECONDS):
            out, _ = await process.communicate(msgspec.json.encode([pattern, texts]))
    except TimeoutError:
        raise ServerToolError("execution_time_exceeded", "the expression takes too long") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode == 3:
        raise ServerToolError("invalid_tool_input", "the expression is none of Python's")
    if process.returncode:
        raise ServerToolError("unavailable", f"the search ended with status {process.returncode}")
    return msgspec.json.decode(out, type=list[int])
