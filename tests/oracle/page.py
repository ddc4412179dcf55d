"""The generated parts of the compatibility page, as Markdown."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path

from dragoman.translate import tables
from tests.oracle import answers, matrix
from tests.oracle.differences import DIFFERENCES
from tests.oracle.examples import ELSEWHERE, EXAMPLES
from tests.oracle.produced import found as produced_by

ENGINES = Path(__file__).with_name("engines.toml")


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table; a `|` inside a cell is escaped."""
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def _effects(rows: Iterable[tables.Row], kind: str) -> str:
    """What becomes of each part of a request, and what each engine is sent of it."""
    head = ["name", "here", *matrix.ENGINES.values(), "how or why"]
    lines = ([f"`{row.name}`", row.effect, *_cells(f"{kind}.{row.name}"), row.what] for row in rows)
    return table(head, lines)


def _cells(name: str) -> list[str]:
    if name in ELSEWHERE:
        return [ELSEWHERE[name]] * len(matrix.ENGINES)
    return [matrix.outcome(engine, *EXAMPLES[name]) for engine in matrix.ENGINES]


def _abilities() -> str:
    """What each engine can do with a capable model, and what its answers say."""
    found = [matrix.abilities(engine) for engine in matrix.ENGINES]
    lines = ([what, *(abilities[what] for abilities in found)] for what in found[0])
    return table(["what", *matrix.ENGINES.values()], lines)


def _parts(kind: str) -> str:
    """What each part of an answer holds, and what of each engine's answer it is made of."""
    head = ["name", "here", *matrix.ENGINES.values(), "what it holds"]
    lines = (
        [f"`{part.name}`", part.here, *(produced(kind, part, engine) for engine in matrix.ENGINES), part.what]
        for part in answers.KINDS[kind]
    )
    return table(head, lines)


def produced(kind: str, part: answers.Part, engine: str) -> str:
    """In one cell: what of an engine's answer a part comes from, or why it never does."""
    if part.here in {"made here", "never"}:
        return part.here
    thing = f"{kind}:{part.name}"
    found = produced_by(engine)
    if not found.sources.get(thing):
        return f"no: {answers.ABSENT[thing, engine]}"
    if found.matches_here and part.name == "stop_sequence":
        return matrix.HERE
    return ", ".join(f"`{source}`" for source in found.sources[thing])


def _differences() -> str:
    rows = ([f"`{row.place}`", row.what, row.kind, row.reason] for row in DIFFERENCES)
    return table(["place", "difference", "kind", "why"], rows)


def _engines() -> str:
    engines = tomllib.loads(ENGINES.read_text(encoding="utf-8"))["engine"]
    keys = ("name", "version", "how", "verified")
    return table(("engine", *keys[1:]), ([engine[key] for key in keys] for engine in engines))


PARTS: dict[str, Callable[[], str]] = {
    "compat-request": lambda: _effects(tables.PARAMETERS, "request"),
    "compat-turns": lambda: _effects(tables.MESSAGE_FIELDS, "turn"),
    "compat-edits": lambda: _effects(tables.EDITS, "edit"),
    "compat-tools": lambda: _effects(tables.TOOL_FIELDS, "tool"),
    "compat-tool-types": lambda: _effects(tables.TOOL_TYPES, "tool type"),
    "compat-blocks": lambda: _effects(tables.BLOCKS, "block"),
    "compat-sources": lambda: _effects(tables.SOURCES, "source"),
    "compat-block-fields": lambda: _effects(tables.BLOCK_FIELDS, "block field"),
    "compat-message": lambda: _parts("message"),
    "compat-usage": lambda: _parts("usage"),
    "compat-stop-reasons": lambda: _parts("stop_reason"),
    "compat-answer-blocks": lambda: _parts("block"),
    "compat-events": lambda: _parts("event"),
    "compat-deltas": lambda: _parts("delta"),
    "compat-errors": lambda: _parts("error"),
    "compat-differences": _differences,
    "compat-engines": _engines,
    "compat-abilities": _abilities,
}
