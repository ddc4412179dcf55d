"""The search for deferred tools: by words, or by a regular expression."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from dragoman.server_tools.apart import run_apart
from dragoman.server_tools.base import ServerToolError
from dragoman.server_tools.ranking import Ranking
from dragoman.wire.openai import ChatTool

_MOST_FOUND = 5
_LONGEST_PATTERN = 200
_SECONDS = 5.0
_NO_PATTERN = 3
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
    data = msgspec.json.encode([pattern, texts])
    status, out = await run_apart("-c", _PROGRAM, data=data, seconds=_SECONDS)
    if status == _NO_PATTERN:
        raise ServerToolError("invalid_tool_input", "the expression is none of Python's")
    if status:
        raise ServerToolError("unavailable", f"the search ended with status {status}")
    return msgspec.json.decode(out, type=list[int])
