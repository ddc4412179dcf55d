"""What the model reads of a server tool's result: the same text inside the answer and in every later turn."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from dragoman.translate.history import history_text
from dragoman.translate.signature import OpenedThinking
from dragoman.wire.anthropic.blocks import (
    Base64Source,
    PlainTextSource,
    ServerResultBlock,
    ToolSearchToolResultBlock,
)
from dragoman.wire.anthropic.response import ServerResultOut

NOTHING_FOUND = "No tools found."
NOT_RUN = "[error] the call did not run"
_BETWEEN = "\n\n"

Unseal = Callable[[str, str], OpenedThinking]


class _Hit(msgspec.Struct, tag_field="type", tag="web_search_result"):
    url: str
    title: str
    encrypted_content: str = ""
    page_age: str | None = None


class _Document(msgspec.Struct, tag_field="type", tag="document"):
    source: PlainTextSource | Base64Source
    title: str | None = None


class _Fetched(msgspec.Struct, tag_field="type", tag="web_fetch_result"):
    url: str
    content: _Document


class _Reference(msgspec.Struct, tag_field="type", tag="tool_reference"):
    tool_name: str


class _Found(msgspec.Struct, tag_field="type", tag="tool_search_tool_search_result"):
    tool_references: list[_Reference]


class _SearchError(msgspec.Struct, tag_field="type", tag="web_search_tool_result_error"):
    error_code: str


class _FetchError(msgspec.Struct, tag_field="type", tag="web_fetch_tool_result_error"):
    error_code: str


class _ToolSearchError(msgspec.Struct, tag_field="type", tag="tool_search_tool_result_error"):
    error_code: str
    error_message: str | None = None


_Content = list[_Hit] | _Fetched | _Found | _SearchError | _FetchError | _ToolSearchError


def found_tools(content: object) -> list[str] | None:
    """The names in the result of a search for tools; None where it is another one, or an error."""
    try:
        found = msgspec.convert(content, type=_Found)
    except msgspec.ValidationError:
        return None
    return [one.tool_name for one in found.tool_references]


class ResultReader:
    """Reads results. `unseal` opens what only this server can read; `load` makes a found tool callable."""

    def __init__(self, unseal: Unseal, load: Callable[[str, str], str]) -> None:
        self._unseal = unseal
        self._load = load

    def own(self, block: ServerResultOut) -> str:
        """The text of a result that was just made: read as it will be read when it comes back."""
        return self._text(msgspec.convert(msgspec.to_builtins(block.content), type=_Content), "")

    def earlier(self, block: ServerResultBlock, path: object) -> str:
        """The text of a result that came back; of one in no known shape, what there is to read.

        What a search for tools found is text already: it was loaded where it stands.
        """
        if isinstance(block, ToolSearchToolResultBlock) and isinstance(block.content, str):
            return block.content
        try:
            read = msgspec.convert(block.content, type=_Content)
        except msgspec.ValidationError:
            return history_text(block, path)
        return self._text(read, path)

    def _text(self, read: _Content, path: object) -> str:
        if isinstance(read, list):
            return _BETWEEN.join(map(self._hit, range(1, len(read) + 1), read)) or "No results."
        if isinstance(read, _Fetched):
            return _page(read)
        if isinstance(read, _Found):
            names = [found.tool_name for found in read.tool_references]
            return "\n".join(self._load(name, f"{path}") for name in names) or NOTHING_FOUND
        detail = read.error_message if isinstance(read, _ToolSearchError) else None
        return f"[error] {read.error_code}{f': {detail}' if detail else ''}"

    def _hit(self, number: int, hit: _Hit) -> str:
        opened = self._unseal(hit.encrypted_content, "")
        lines = [f"{number}. {hit.title}", hit.url, hit.page_age or ""]
        if opened.kind == "ours":
            lines.append(opened.text)
        return "\n".join(filter(None, lines))


def _page(page: _Fetched) -> str:
    source = page.content.source
    is_text = isinstance(source, PlainTextSource)
    said = source.data if is_text else f"[{source.media_type} left out]"
    return "\n".join(filter(None, [page.content.title, page.url, said]))
