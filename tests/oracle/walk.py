"""Every place of the SDK's types, which of them a JSON value uses, and which the tables tell of."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from dragoman.translate import tables
from tests.oracle import answers
from tests.oracle.compare import canonical
from tests.oracle.differences import DIFFERENCES
from tests.oracle.shapes import UNTAGGED, Field, Shape

# The literals of these fields are places too: each is a thing that an answer can say.
_VALUED = ("stop_reason", "processing_status")
# Where the type of a thing may be missing, this one is meant.
_ASSUMED = "custom"
_UNUSED = frozenset({"no effect", "refused", "placement", "never sent"})


def places(root: str, shape: Shape) -> set[str]:
    """The canonical names of all kinds, fields and told literals below a root."""
    return {canonical(place) for place in _places(root, shape)}


def _places(path: str, shape: Shape) -> Iterator[str]:
    if path.endswith(_VALUED):
        yield from (f"{path}={value}" for value in shape.literals)
    if shape.item is not None:
        yield from _places(f"{path}[]", shape.item)
    for tag, fields in shape.objects.items():
        place = _tagged(path, tag)
        yield place
        for name, member in fields.items():
            yield f"{place}.{name}"
            yield from _places(f"{place}.{name}", member.shape)


def used(root: str, shape: Shape, value: Any) -> set[str]:
    """The canonical names of the places that a value uses; a null uses none."""
    return {canonical(place) for place in _used(root, shape, value)}


def _used(path: str, shape: Shape, value: Any) -> Iterator[str]:
    if isinstance(value, list) and shape.item is not None:
        for item in value:
            yield from _used(f"{path}[]", shape.item, item)
    elif isinstance(value, dict):
        tag = _tag(shape, value)
        if tag is not None:
            yield _tagged(path, tag)
            yield from _used_fields(_tagged(path, tag), shape.objects[tag], value)
    elif path.endswith(_VALUED):
        yield f"{path}={value}"


def _used_fields(place: str, fields: Any, value: dict[str, Any]) -> Iterator[str]:
    member: Field
    for name, member in fields.items():
        if value.get(name) is not None:
            yield f"{place}.{name}"
            yield from _used(f"{place}.{name}", member.shape, value[name])


def _tag(shape: Shape, value: dict[str, Any]) -> str | None:
    return next((tag for tag in (value.get("type"), UNTAGGED, _ASSUMED) if tag in shape.objects), None)


def _tagged(path: str, tag: str) -> str:
    return path if tag == UNTAGGED else f"{path}:{tag}"


def told() -> Iterator[str]:
    """The patterns of the places that a row tells to have no effect, to be refused or never sent."""
    yield from (row.place for row in DIFFERENCES if row.kind in _UNUSED and row.what != "ours")
    effects: list[tuple[str, Iterable[tables.Row]]] = [
        ("request.", tables.PARAMETERS),
        ("count.", tables.PARAMETERS),
        ("turn.", tables.MESSAGE_FIELDS),
        ("tool:*.", tables.TOOL_FIELDS),
        ("tool:", tables.TOOL_TYPES),
        ("block:", tables.BLOCKS),
    ]
    for prefix, rows in effects:
        yield from (prefix + row.name for row in rows if row.effect in _UNUSED)
    for row in tables.BLOCK_FIELDS:
        yield f"block:{row.name}" if "." in row.name else f"block:*.{row.name}"
    yield from (f"block:*{row.name}" for row in tables.SOURCES if row.effect in _UNUSED)
    parts: list[tuple[str, Iterable[answers.Part]]] = [
        ("*.", answers.MESSAGE),
        ("*.usage.", answers.USAGE),
        ("*.stop_reason=", answers.STOP_REASONS),
        ("error:", answers.ERRORS),
    ]
    for prefix, held in parts:
        yield from (
            prefix + part.name for part in held if part.what.startswith(("never sent", "always null"))
        )


def covers(pattern: str, place: str) -> bool:
    """Whether a row's pattern tells of a place, or of something that the place is a part of."""
    words = ".*".join(map(re.escape, pattern.split("*")))
    return re.fullmatch(rf"{words}(?:[.:=\[].*)?", place) is not None
