"""Blocks of content as the texts and images of the chat form: what user turns, results and history hold."""

from __future__ import annotations

import msgspec
from msgspec import UnsetType

from dragoman.errors import InvalidRequestError
from dragoman.translate.documents import document_parts, search_result_text
from dragoman.translate.history import HISTORY, history_text
from dragoman.translate.images import image_part
from dragoman.translate.options import NEWER_VERSION, Findings, RequestOptions
from dragoman.wire.anthropic.blocks import DocumentBlock, ImageBlock, SearchResultBlock, TextBlock
from dragoman.wire.openai import Part, TextPart


def parts_of(
    block: msgspec.Struct, path: object, options: RequestOptions, findings: Findings
) -> list[Part] | None:
    """The texts and images of a block, in order; None for a block that is no content (a call, a thought).

    `path` becomes text where it is needed.
    """
    if isinstance(block, TextBlock):
        _check_citations(block, path, options)
        return [TextPart(block.text)] if block.text else []
    if isinstance(block, ImageBlock):
        return [image_part(block, str(path), options, findings)]
    if isinstance(block, DocumentBlock):
        return document_parts(block, str(path), options, findings)
    if isinstance(block, SearchResultBlock):
        return [TextPart(search_result_text(block))]
    if isinstance(block, HISTORY):
        return [TextPart(history_text(block, path))]
    return None


def _check_citations(block: TextBlock, path: object, options: RequestOptions) -> None:
    if not options.strict or options.api_version < NEWER_VERSION or isinstance(block.citations, UnsetType):
        return
    if bytes(block.citations) not in {b"null", b"[]"}:
        raise InvalidRequestError(f"{path}.citations: Extra inputs are not permitted")


def text_inside_answer(
    block: msgspec.Struct, path: object, options: RequestOptions, findings: Findings
) -> str | None:
    """The text that stands for a block in an assistant turn; None for one that cannot stand there."""
    if isinstance(block, ImageBlock):
        return None
    if isinstance(block, DocumentBlock) and options.api_version >= NEWER_VERSION:
        return None
    parts = parts_of(block, path, options, findings)
    if parts is None:
        return None
    texts = [part.text for part in parts if isinstance(part, TextPart)]
    if len(texts) < len(parts):
        raise InvalidRequestError(f"{path}.source: images are not allowed in assistant turns")
    return "\n".join(texts)


class AnswerText:
    """The text of one assistant turn: its texts join with nothing, a flattened block has its own lines."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._is_open = True

    def add(self, text: str) -> None:
        """Adds what the model said."""
        if text and not self._is_open:
            self._pieces.append("\n")
        if text:
            self._is_open = True
            self._pieces.append(text)

    def add_lines(self, text: str) -> None:
        """Adds what stands for a block, on lines of its own."""
        if self._pieces and not self._pieces[-1].endswith("\n"):
            self._pieces.append("\n")
        self._is_open = False
        self._pieces.append(text)

    def __str__(self) -> str:
        """The whole text."""
        return "".join(self._pieces)
