"""The blocks of a request that point at something, where they stand, and how others take their place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import msgspec

from dragoman.wire.anthropic.blocks import (
    Base64Source,
    ContentSource,
    DocumentBlock,
    ImageBlock,
    PlainTextSource,
    ToolResultBlock,
)
from dragoman.wire.anthropic.request import CountTokensRequest

Steps = tuple[str | int, ...]
"""The way from a request to one of its blocks, by fields and indexes."""
Pointing = DocumentBlock | ImageBlock

Held = TypeVar("Held")

_HOLDERS = frozenset({ImageBlock, DocumentBlock, ToolResultBlock})


def pointing(request: CountTokensRequest) -> Iterator[tuple[Steps, Pointing]]:
    """The documents and images that point at a file or an address or hold a PDF, in the request's order."""
    for number, message in enumerate(request.messages):
        # most hold none of these, and every request of an agent passes here with its whole history
        if not isinstance(message.content, str) and not _HOLDERS.isdisjoint(map(type, message.content)):
            yield from _among(message.content, ("messages", number, "content"))


def _among(blocks: list[Any], steps: Steps) -> Iterator[tuple[Steps, Pointing]]:
    for index, block in enumerate(blocks):
        kind = type(block)
        if kind not in _HOLDERS:
            continue
        if kind is ImageBlock:
            if not isinstance(block.source, Base64Source):
                yield (*steps, index), block
        elif kind is DocumentBlock:
            yield from _in_document(block, (*steps, index))
        elif isinstance(block.content, list):
            yield from _among(block.content, (*steps, index, "content"))


def _in_document(block: DocumentBlock, steps: Steps) -> Iterator[tuple[Steps, Pointing]]:
    if not isinstance(block.source, ContentSource | PlainTextSource):
        yield steps, block
    elif isinstance(block.source, ContentSource) and isinstance(block.source.content, list):
        yield from _among(block.source.content, (*steps, "source", "content"))


def replaced(value: Held, new: Mapping[Steps, Pointing]) -> Held:
    """The same with other blocks in some places; only what holds these is copied, and that once."""
    made: Held = _with(value, new)
    return made


def _with(value: Any, new: Mapping[Steps, Pointing]) -> Any:
    if () in new:
        return new[()]
    below: dict[str | int, dict[Steps, Pointing]] = {}
    for (step, *rest), block in new.items():
        below.setdefault(step, {})[tuple(rest)] = block
    if isinstance(value, list):
        return [_with(held, below[index]) if index in below else held for index, held in enumerate(value)]
    changes = {str(name): _with(getattr(value, str(name)), some) for name, some in below.items()}
    return msgspec.structs.replace(value, **changes)


def spelled(steps: Steps) -> str:
    """The path as the API spells it."""
    return ".".join(map(str, steps))
