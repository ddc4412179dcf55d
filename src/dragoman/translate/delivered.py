"""What a client was given, as it would send it back: the content of an answer as blocks of a request."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from dragoman.translate.json_scan import ArgumentScanner
from dragoman.wire.anthropic.blocks import ContentBlock
from dragoman.wire.anthropic.response import BlockOut
from dragoman.wire.sse import SSEDecoder

_blocks = msgspec.json.Decoder(list[ContentBlock])
_encode = msgspec.json.Encoder().encode
# Which field of a block each kind of delta adds to.
_FIELDS = {"text_delta": "text", "thinking_delta": "thinking", "input_json_delta": "partial_json"}


def delivered_whole(content: list[BlockOut]) -> list[ContentBlock]:
    """The content of a whole answer."""
    return _blocks.decode(_encode(content))


def delivered_stream(stream: bytes) -> list[ContentBlock]:
    """The content of a stream that came to its end, read as a client reads it."""
    content: list[dict[str, Any]] = []
    pieces: list[str] = []
    for event in SSEDecoder().feed(stream):
        data = msgspec.json.decode(event.data)
        if event.event == "content_block_start":
            content.append(data["content_block"])
            pieces = []
        elif event.event == "content_block_delta":
            _add(content[-1], data["delta"], pieces)
        elif event.event == "content_block_stop" and pieces:
            _finish(content[-1], "".join(pieces))
    return _blocks.decode(_encode(content))


def _add(block: dict[str, Any], delta: dict[str, Any], pieces: list[str]) -> None:
    """Takes one delta of a block; unknown ones say nothing that a request could hold."""
    kind = delta["type"]
    if kind in _FIELDS:
        pieces.append(delta[_FIELDS[kind]])
    elif kind == "signature_delta":
        block["signature"] = delta["signature"]


def _finish(block: dict[str, Any], said: str) -> None:
    """Puts what came piece by piece into its block; of arguments that were cut, the complete members."""
    if "input" in block:
        scanner = ArgumentScanner()
        scanner.feed(said)
        block["input"] = Raw(scanner.partial(said).encode())
    else:
        block[block["type"]] = said
