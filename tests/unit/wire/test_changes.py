"""Changes of the tools inside conversations: keys that no struct lists, for strict mode."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from dragoman.wire.anthropic import unknown_fields

DEFINED = {"type": "tool_definition", "definition": {"name": "f", "input_schema": {"x": 1}}}
NAMED = {"type": "tool_reference", "name": "f"}


def unknown(*blocks: Any) -> list[str]:
    """The unknown keys of a request with one system turn of these blocks."""
    turns = [{"role": "user", "content": "a"}, {"role": "system", "content": list(blocks)}]
    return unknown_fields(msgspec.json.encode({"model": "m", "max_tokens": 1, "messages": turns}))


def extra(value: dict[str, Any], *path: str) -> dict[str, Any]:
    """The value with an unknown key in the object at a path."""
    return value | ({path[0]: extra(value[path[0]], *path[1:])} if path else {"colour": "blue"})


@pytest.mark.parametrize(
    ("kind", "tool", "path"),
    [
        ("tool_addition", DEFINED, ()),
        ("tool_addition", DEFINED, ("tool",)),
        ("tool_addition", DEFINED, ("tool", "definition")),
        ("tool_addition", NAMED, ("tool",)),
        ("tool_removal", NAMED, ("tool",)),
    ],
)
def test_unknown_keys_of_changes_are_named_by_path(kind: str, tool: Any, path: tuple[str, ...]) -> None:
    change = {"type": kind, "tool": tool, "cache_control": {"type": "ephemeral"}}
    assert unknown(change) == []
    assert unknown(extra(change, *path)) == [".".join(("messages.1.content.0", *path, "colour"))]
    compacted = {"type": "compaction", "content": "c", "tool_changes": [change, extra(change, *path)]}
    assert unknown(compacted) == [".".join(("messages.1.content.0.tool_changes.1", *path, "colour"))]


@pytest.mark.parametrize(
    "block",
    [7, {}, {"type": 7}, {"type": "tool_addition", "tool": 7}, {"type": "text", "tool_changes": [7, {}]}],
)
def test_what_has_another_shape_is_passed_over(block: Any) -> None:
    assert [path for path in unknown(block) if "tool_changes" not in path] == []


def test_so_is_a_body_that_is_no_object() -> None:
    assert unknown_fields(b"[]") == []
    assert unknown_fields(b'{"messages":7}') == []
