"""What differs between two shapes, place by place."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from tests.oracle.shapes import UNTAGGED, Field, Shape

What = Literal["missing", "ours", "opaque", "stricter", "laxer"]


@dataclass(frozen=True, order=True)
class Difference:
    """One difference: where (`request.tools[]:custom.strict`) and what.

    missing: the SDK has it, we do not. ours: the other way round. opaque: we take anything here and look no
    further. stricter, laxer: we take less or more than the SDK says.
    """

    path: str
    what: What
    detail: str = ""

    def __str__(self) -> str:
        """One line for a person."""
        return f"{self.path}: {self.what}{f' ({self.detail})' if self.detail else ''}"


# The same type stands in several places; it is told of once, under the first name here that fits.
_CANONICAL = [
    (re.compile(pattern), name)
    for pattern, name in [
        (r"^count(?=\.\w+[.:=\[])", "request"),
        (r"^event:message_start\.message:message", "message"),
        (r"^message:message", "message"),
        (r"^batches\.requests\[\]\.params(?=[.:=\[])", "request"),
        (r"^(?:model_page\.data\[\]|model):model", "model"),
        (r"^(?:file_page\.data\[\]|file):file", "file"),
        (r"^batch_line\.result:succeeded\.message:message", "message"),
        (r"^batch_line\.result:errored\.error:error\.error(?=:)", "error"),
        (r"^(?:batch_page\.data\[\]|batch):message_batch", "batch"),
        (r"^error:error\.error(?=:)", "error"),
        (r"^(?:event:content_block_start\.content_block|message\.content\[\]):", "answer:"),
        (r"^request\.tools\[\]:", "tool:"),
        (r"^request\.system\[\]:", "block:"),
        (r"^request\.messages\[\]\.content\[\]:", "block:"),
        (r"^block:(?:tool_result|search_result)\.content\[\]:", "block:"),
        (r"^block:compaction\.tool_changes\[\]:", "block:"),
        (r"^block:tool_addition\.tool:tool_definition\.definition:", "tool:"),
        # what the client tools share with custom ones
        (
            (
                r"^tool:(?:bash|text_editor|memory|computer)_\d+(?=\.(?:allowed_callers|cache_control|"
                r"defer_loading|input_examples|strict))"
            ),
            "tool:custom",
        ),
        (r"^request\.messages\[\]", "turn"),
    ]
]


def canonical(path: str) -> str:
    """The one name of a place: `block:image` wherever an image may stand."""
    for pattern, name in _CANONICAL:
        path = pattern.sub(name, path)
    return path


def all_differences(sdk: Mapping[str, Shape], ours: Mapping[str, Shape]) -> list[Difference]:
    """The differences under all roots, each told once, under its canonical place."""
    found = {
        Difference(canonical(found.path), found.what, found.detail)
        for root in sdk
        for found in differences(
            root, sdk[root], ours[root], incoming=root in {"request", "count", "batches"}
        )
    }
    return sorted(found)


def differences(path: str, sdk: Shape, ours: Shape, *, incoming: bool) -> Iterator[Difference]:
    """All differences at and below a place; `incoming` for what clients send, else it is what we send."""
    if "any" in ours.families:
        if not sdk.is_free:
            yield Difference(path, "opaque")
        return
    yield from _values(path, sdk, ours, incoming=incoming)
    if sdk.item is not None and ours.item is not None:
        yield from differences(f"{path}[]", sdk.item, ours.item, incoming=incoming)
    for tag in {**sdk.objects, **ours.objects}:
        place = f"{path}:{tag}" if tag != UNTAGGED else path
        if tag not in ours.objects:
            yield Difference(place, "missing", "" if tag != UNTAGGED else "object")
        elif tag not in sdk.objects:
            yield Difference(place, "ours", "" if tag != UNTAGGED else "object")
        else:
            yield from _fields(place, sdk.objects[tag], ours.objects[tag], incoming=incoming)


def _values(path: str, sdk: Shape, ours: Shape, *, incoming: bool) -> Iterator[Difference]:
    free_text = "string" in ours.families or "string" in sdk.families
    absent = {} if "string" in ours.families else {f"={value}" for value in sdk.literals - ours.literals}
    extra = set() if free_text else {f"={value}" for value in ours.literals - sdk.literals}
    for value in sorted(absent):
        yield Difference(path + value, "missing")
    for value in sorted(extra):
        yield Difference(path + value, "ours")
    less = sorted(sdk.families - ours.families)
    more = sorted(ours.families - sdk.families)
    if sdk.item is not None and ours.item is None:
        less.append("array")
    if ours.item is not None and sdk.item is None:
        more.append("array")
    if incoming and sdk.null and not ours.null:
        less.append("null")
    if less:
        yield Difference(path, "stricter", ", ".join(less))
    if more:
        yield Difference(path, "laxer", ", ".join(more))


def _fields(
    path: str, sdk: Mapping[str, Field], ours: Mapping[str, Field], *, incoming: bool
) -> Iterator[Difference]:
    for name in {**sdk, **ours}:
        place = f"{path}.{name}"
        if name not in ours:
            yield Difference(place, "missing")
        elif name not in sdk:
            yield Difference(place, "ours")
        else:
            if sdk[name].required and not ours[name].required:
                yield Difference(place, "laxer", "optional")
            if incoming and ours[name].required and not sdk[name].required:
                yield Difference(place, "stricter", "required")
            yield from differences(place, sdk[name].shape, ours[name].shape, incoming=incoming)
