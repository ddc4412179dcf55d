"""The tables behind the compatibility page tell of everything that there is."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path
from typing import get_args

import pytest

from dragoman.translate import tables
from dragoman.translate.client_tools import KNOWN_TOOLS
from dragoman.wire.anthropic.errors import ErrorType
from tests.oracle import answers
from tests.oracle.differences import DIFFERENCES
from tests.oracle.ours import our_shapes
from tests.oracle.page import PARTS, table
from tests.oracle.sdk import sdk_shapes
from tests.oracle.shapes import UNTAGGED, Shape

OURS = our_shapes()
SDK = sdk_shapes()


def fields(shape: Shape, tag: str = UNTAGGED) -> set[str]:
    """The members of an object."""
    return set(shape.objects[tag])


def member(shape: Shape, *names: str, tag: str = UNTAGGED) -> Shape:
    """The shape at the end of a path of members; lists are entered."""
    for name in names:
        found = shape.objects[tag][name].shape
        shape, tag = found.item or found, UNTAGGED
    return shape


TURN = member(OURS["request"], "messages")
BLOCK = member(TURN, "content")
EDIT = member(OURS["request"], "context_management", "edits")
TOOL = member(OURS["request"], "tools")
MESSAGE = OURS["message"]


@pytest.mark.parametrize(
    ("rows", "there"),
    [
        (tables.PARAMETERS, fields(OURS["request"]) | fields(SDK["request"]) - {"betas"}),
        (tables.MESSAGE_FIELDS, fields(TURN)),
        (tables.EDITS, set(EDIT.objects)),
        (tables.TOOL_FIELDS, fields(TOOL, "custom") | {"type"}),
        (tables.BLOCKS, set(BLOCK.objects) | set(member(BLOCK, "content", tag="tool_result").objects)),
        (answers.MESSAGE, fields(MESSAGE, "message") | {"type"}),
        (answers.USAGE, fields(member(MESSAGE, "usage", tag="message"))),
        (answers.STOP_REASONS, set(member(MESSAGE, "stop_reason", tag="message").literals)),
        (answers.BLOCKS, set(member(MESSAGE, "content", tag="message").objects)),
        (answers.EVENTS, set(OURS["event"].objects)),
        (answers.DELTAS, set(member(OURS["event"], "delta", tag="content_block_delta").objects)),
        (answers.ERRORS, set(get_args(ErrorType))),
    ],
)
def test_a_table_has_one_row_for_each(rows: tuple[tables.Row | answers.Part, ...], there: set[str]) -> None:
    names = [row.name for row in rows]
    assert sorted(names) == sorted(there)


def test_every_block_of_the_sdk_is_told_of() -> None:
    blocks = member(SDK["request"], "messages", "content")
    assert set(blocks.objects) <= {row.name for row in tables.BLOCKS}


def test_every_source_of_images_and_documents_is_told_of() -> None:
    there = [
        f"{block}.source:{tag}"
        for block in ("image", "document")
        for tag in member(BLOCK, "source", tag=block).objects
    ]
    assert sorted(row.name for row in tables.SOURCES) == sorted(there)


def test_every_tool_type_of_the_sdk_is_told_of() -> None:
    types = set(member(SDK["request"], "tools").objects)
    patterns = [row.name for row in tables.TOOL_TYPES]
    told = [{kind for kind in types if fnmatchcase(kind, pattern)} for pattern in patterns]
    assert set().union(*told) == types
    assert all(told)
    translated = {row.name for row in tables.TOOL_TYPES if row.effect == "translated"}
    # those with any version run on the server
    known = {name for name in translated if "*" not in name} - {"custom"}
    assert known == set(KNOWN_TOOLS)


def test_a_type_of_tool_that_is_refused_is_no_difference_of_another_kind() -> None:
    refused = [row.name for row in tables.TOOL_TYPES if row.effect == "refused"]
    told = {
        kind: row.kind
        for kind in member(SDK["request"], "tools").objects
        for row in DIFFERENCES
        if row.explains(f"tool:{kind}", "missing")
    }
    said = {kind for kind in told if any(fnmatchcase(kind, pattern) for pattern in refused)}
    assert said == {kind for kind in told if told[kind] == "refused"}


def test_the_tables_agree_about_what_is_refused() -> None:
    refused = {row.name for row in tables.BLOCKS if row.effect == "refused"}
    lost = [
        row
        for row in DIFFERENCES
        if row.kind == "no effect"
        and row.place.startswith("block:")
        and row.place[6:].split(".")[0] in refused
    ]
    assert lost == []


@pytest.mark.parametrize("name", PARTS)
def test_a_part_stands_on_the_page(name: str) -> None:
    page = (Path(__file__).parents[2] / "docs/compatibility.md").read_text(encoding="utf-8")
    assert page.count(f"<!-- generated: {name} -->") == 1


@pytest.mark.parametrize("name", PARTS)
def test_a_part_is_a_table(name: str) -> None:
    lines = PARTS[name]().splitlines()
    assert len(lines) > 2
    assert {line.replace("\\|", "").count("|") for line in lines} == {lines[0].count("|")}


def test_a_bar_in_a_cell_is_escaped() -> None:
    assert table(["a"], [["b|c"]]) == "| a |\n| --- |\n| b\\|c |\n"
