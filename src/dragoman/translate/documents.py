"""Documents and search results: what they say, in place, between tags that name them."""

from __future__ import annotations

from dragoman.errors import InvalidRequestError
from dragoman.translate.images import image_part
from dragoman.translate.options import Findings, RequestOptions
from dragoman.wire.anthropic.blocks import (
    Base64Source,
    ContentSource,
    DocumentBlock,
    FileSource,
    PlainTextSource,
    SearchResultBlock,
    TextBlock,
    URLSource,
)
from dragoman.wire.openai import Part, TextPart

_TEXT = "text/plain"
_PDF = "application/pdf"
_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;"})


def opening(tag: str, **values: str | None) -> str:
    """An opening tag with those values that are there; what is inside a value cannot end it."""
    named = [f' {name}="{value.translate(_ESCAPES)}"' for name, value in values.items() if value]
    return f"<{tag}{''.join(named)}>"


def document_parts(
    block: DocumentBlock, path: str, options: RequestOptions, findings: Findings
) -> list[Part]:
    """A document as texts and images in its own order, its title and context in the opening tag."""
    return [
        TextPart(opening("document", title=block.title, context=block.context)),
        *_source_parts(block, f"{path}.source", options, findings),
        TextPart("</document>"),
    ]


def _source_parts(block: DocumentBlock, path: str, options: RequestOptions, findings: Findings) -> list[Part]:
    source = block.source
    if isinstance(source, PlainTextSource):
        if source.media_type != _TEXT:
            raise InvalidRequestError(f"{path}.media_type: Input should be {_TEXT}")
        return _texts(source.data)
    if not isinstance(source, ContentSource):
        raise _unresolved(source, path)
    if isinstance(source.content, str):
        return _texts(source.content)
    parts: list[Part] = []
    for number, inner in enumerate(source.content):
        if isinstance(inner, TextBlock):
            parts += _texts(inner.text)
        else:
            parts.append(image_part(inner, f"{path}.content.{number}", options, findings))
    return parts


def _texts(text: str) -> list[Part]:
    return [TextPart(text)] if text else []


def _unresolved(source: Base64Source | URLSource | FileSource, path: str) -> InvalidRequestError:
    """The error for what only a stage before the translation can read, and none did."""
    if isinstance(source, FileSource):
        return InvalidRequestError(f"{path}: file sources are not available on this server")
    if isinstance(source, URLSource):
        return InvalidRequestError(f"{path}: documents by url are not available here; send their text")
    if source.media_type != _PDF:
        return InvalidRequestError(
            f"{path}.media_type: Input should be {_PDF} (a base64 source) or {_TEXT} (a text source)"
        )
    return InvalidRequestError(f"{path}: PDF documents are not available here; send their text")


def search_result_text(block: SearchResultBlock) -> str:
    """A search result: its texts, line by line, behind its source and title."""
    texts = [text.text for text in block.content if text.text]
    return "\n".join(
        [opening("search_result", source=block.source, title=block.title), *texts, "</search_result>"]
    )
