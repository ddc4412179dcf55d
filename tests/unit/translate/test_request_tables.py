"""The tables of the request side: complete, so that the docs that print them are too."""

from __future__ import annotations

from typing import get_args

import msgspec
import pytest

from dragoman.translate import tables
from dragoman.wire.anthropic.blocks import ContentBlock, ToolResultContent
from dragoman.wire.anthropic.request import Message, MessagesRequest, Tool


def names(rows: tuple[tables.Row, ...]) -> list[str]:
    return [row.name for row in rows]


@pytest.mark.parametrize(
    ("rows", "struct"),
    [
        (tables.PARAMETERS, MessagesRequest),
        (tables.MESSAGE_FIELDS, Message),
        (tables.TOOL_FIELDS, Tool),
    ],
)
def test_every_field_has_its_row(rows: tuple[tables.Row, ...], struct: type[msgspec.Struct]) -> None:
    assert sorted(names(rows)) == sorted(struct.__struct_encode_fields__)


def test_every_block_type_has_its_row() -> None:
    blocks = {*get_args(ContentBlock), *get_args(ToolResultContent)}
    assert sorted(names(tables.BLOCKS)) == sorted(str(block.__struct_config__.tag) for block in blocks)


@pytest.mark.parametrize(
    "row",
    [
        *tables.PARAMETERS,
        *tables.BLOCKS,
        *tables.SOURCES,
        *tables.TOOL_FIELDS,
        *tables.BLOCK_FIELDS,
        *tables.EDITS,
    ],
)
def test_every_row_gives_its_reason(row: tables.Row) -> None:
    assert row.what
    assert row.what[-1] not in ".,;"
