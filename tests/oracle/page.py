"""The generated parts of the compatibility page, as Markdown."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path

from dragoman.translate import tables
from tests.oracle import answers
from tests.oracle.differences import DIFFERENCES

ENGINES = Path(__file__).with_name("engines.toml")


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table; a `|` inside a cell is escaped."""
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def _effects(rows: Iterable[tables.Row]) -> str:
    return table(["name", "here", "how or why"], ([f"`{row.name}`", row.effect, row.what] for row in rows))


def _parts(rows: Iterable[answers.Part]) -> str:
    return table(["name", "what it holds"], ([f"`{row.name}`", row.what] for row in rows))


def _differences() -> str:
    rows = ([f"`{row.place}`", row.what, row.kind, row.reason] for row in DIFFERENCES)
    return table(["place", "difference", "kind", "why"], rows)


def _engines() -> str:
    engines = tomllib.loads(ENGINES.read_text(encoding="utf-8"))["engine"]
    keys = ("name", "version", "how", "verified")
    return table(("engine", *keys[1:]), ([engine[key] for key in keys] for engine in engines))


PARTS: dict[str, Callable[[], str]] = {
    "compat-request": lambda: _effects(tables.PARAMETERS),
    "compat-turns": lambda: _effects(tables.MESSAGE_FIELDS),
    "compat-edits": lambda: _effects(tables.EDITS),
    "compat-tools": lambda: _effects(tables.TOOL_FIELDS),
    "compat-tool-types": lambda: _effects(tables.TOOL_TYPES),
    "compat-blocks": lambda: _effects(tables.BLOCKS),
    "compat-sources": lambda: _effects(tables.SOURCES),
    "compat-block-fields": lambda: _effects(tables.BLOCK_FIELDS),
    "compat-message": lambda: _parts(answers.MESSAGE),
    "compat-usage": lambda: _parts(answers.USAGE),
    "compat-stop-reasons": lambda: _parts(answers.STOP_REASONS),
    "compat-answer-blocks": lambda: _parts(answers.BLOCKS),
    "compat-events": lambda: _parts(answers.EVENTS),
    "compat-errors": lambda: _parts(answers.ERRORS),
    "compat-differences": _differences,
    "compat-engines": _engines,
}
