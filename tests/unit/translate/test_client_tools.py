"""The API's own client tools: names, schemas, and what a declaration sets."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from anthropic.types.beta import beta_memory_tool_20250818_command
from pydantic import TypeAdapter

from dragoman.errors import InvalidRequestError
from dragoman.translate.client_tools import KNOWN_TOOLS
from dragoman.wire.openai import FunctionSpec
from tests.support.translation import tool, translated

SCREEN = {"name": "computer", "display_width_px": 1280, "display_height_px": 800}


def written(kind: str, **fields: Any) -> FunctionSpec:
    """The function of one client tool."""
    declared = {"type": kind, "name": KNOWN_TOOLS[kind].name} | fields
    if kind.startswith("computer_"):
        declared = SCREEN | declared
    return translated(tools=[declared]).chat.tools[0].function


def schema(kind: str, **fields: Any) -> dict[str, Any]:
    """The schema of one client tool."""
    value: dict[str, Any] = msgspec.json.decode(written(kind, **fields).parameters)
    return value


def commands(kind: str) -> list[str]:
    found: list[str] = schema(kind)["properties"]["command"]["enum"]
    return found


@pytest.mark.parametrize("kind", KNOWN_TOOLS)
def test_every_type_is_a_function_that_says_what_it_does(kind: str) -> None:
    function = written(kind)
    assert function.name == KNOWN_TOOLS[kind].name
    assert function.description
    assert "{" not in function.description
    value = schema(kind)
    assert value["type"] == "object"
    assert set(value["required"]) <= set(value["properties"])
    assert all(member["description"] for member in value["properties"].values())


def test_the_versions_of_the_editor_differ() -> None:
    for old in ("text_editor_20241022", "text_editor_20250124"):
        assert commands(old) == ["view", "create", "str_replace", "insert", "undo_edit"]
        assert "insert_text" not in schema(old)["properties"]
    for new in ("text_editor_20250429", "text_editor_20250728"):
        assert commands(new) == ["view", "create", "str_replace", "insert"]
        assert "insert_text" in schema(new)["properties"]


MEMORY: list[dict[str, Any]] = [
    {"command": "view", "path": "/memories", "view_range": [1, 2]},
    {"command": "create", "path": "/memories/a", "file_text": "a"},
    {"command": "str_replace", "path": "/memories/a", "old_str": "a", "new_str": "b"},
    {"command": "insert", "path": "/memories/a", "insert_line": 0, "insert_text": "b"},
    {"command": "delete", "path": "/memories/a"},
    {"command": "rename", "old_path": "/memories/a", "new_path": "/memories/b"},
]


@pytest.mark.parametrize("arguments", MEMORY, ids=lambda one: one["command"])
def test_the_sdk_reads_what_the_memorys_schema_allows(arguments: dict[str, Any]) -> None:
    command: Any = beta_memory_tool_20250818_command.BetaMemoryTool20250818Command
    read = TypeAdapter(command).validate_python(arguments)
    assert read.to_dict() == arguments
    assert set(arguments) <= set(schema("memory_20250818")["properties"])


def test_the_memory_offers_every_command_of_the_sdk() -> None:
    assert sorted(commands("memory_20250818")) == sorted(one["command"] for one in MEMORY)


def test_the_actions_of_the_computer_grow_from_version_to_version() -> None:
    versions = ("computer_20241022", "computer_20250124", "computer_20251124")
    first, second, third = ([*schema(one)["properties"]["action"]["enum"]] for one in versions)
    assert "scroll" not in first
    assert set(first) < set(second)
    assert {"scroll", "wait", "hold_key", "triple_click", "left_mouse_down", "left_mouse_up"} < set(second)
    assert third == second
    zooming = schema("computer_20251124", enable_zoom=True)["properties"]
    assert zooming["action"]["enum"] == [*third, "zoom"]
    assert "region" in zooming
    assert "zoom" not in schema("computer_20250124", enable_zoom=True)["properties"]["action"]["enum"]


def test_the_size_of_the_screen_reaches_the_model() -> None:
    told = written("computer_20250124").description
    assert "1280 pixels wide and 800 high;" in str(told)
    told = written("computer_20250124", display_number=1).description
    assert "800 high (X11 display 1);" in str(told)


def test_the_editors_limit_reaches_the_model() -> None:
    told = str(written("text_editor_20250728", max_characters=500).description)
    assert told.endswith("view shows at most 500 characters of a file.")
    assert "500" not in str(written("text_editor_20250429", max_characters=500).description)


def test_the_common_fields_of_tools_work_here_too() -> None:
    function = written("bash_20250124", strict=True, input_examples=[{"command": "ls"}])
    assert function.strict
    assert msgspec.json.decode(function.parameters)["examples"] == [{"command": "ls"}]
    late = {"type": "bash_20250124", "name": "bash", "defer_loading": True}
    chat = translated(tools=[tool("a"), late]).chat
    assert [one.function.name for one in chat.hidden_tools] == ["bash"]


@pytest.mark.parametrize(
    ("declared", "words"),
    [
        ({"type": "bash_20250124"}, "name: Field required"),
        ({"type": "bash_20250124", "name": "shell"}, "name: Input should be 'bash'"),
        (
            {"type": "text_editor_20250728", "name": "str_replace_editor"},
            "name: Input should be 'str_replace_based_edit_tool'",
        ),
        (
            {"type": "bash_20250124", "name": "bash", "input_schema": {"type": "object"}},
            "input_schema: Extra inputs are not permitted for bash_20250124",
        ),
        (
            {"type": "memory_20250818", "name": "memory", "description": "mine"},
            "description: Extra inputs are not permitted for memory_20250818",
        ),
        (
            {"type": "text_editor_20250728", "name": "str_replace_based_edit_tool", "max_characters": 0},
            "max_characters: Input should be greater than or equal to 1",
        ),
        ({"type": "computer_20251124", "name": "computer"}, "display_width_px: Field required"),
        (
            {"type": "computer_20251124", "name": "computer", "display_width_px": 1},
            "display_height_px: Field required",
        ),
        (
            SCREEN | {"type": "computer_20251124", "display_height_px": 0},
            "display_height_px: Input should be greater than or equal to 1",
        ),
        (
            SCREEN | {"type": "computer_20251124", "display_number": -1},
            "display_number: Input should be greater than or equal to 0",
        ),
        (
            {"type": "bash_20250124", "name": "bash", "input_examples": 1},
            "input_examples: Input should be an",
        ),
    ],
)
def test_a_broken_declaration_is_refused_by_path(declared: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        translated(tools=[tool("a"), declared])
    assert refused.value.message.startswith(f"tools.1.{words}")


def test_names_are_unique_over_all_kinds() -> None:
    with pytest.raises(InvalidRequestError, match=r"^tools\.1\.name: Tool names must be unique"):
        translated(tools=[tool("bash"), {"type": "bash_20250124", "name": "bash"}])
