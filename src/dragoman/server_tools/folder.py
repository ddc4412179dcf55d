"""A folder of texts instead of the web: searched by words, read by address."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, unquote_to_bytes, urlsplit

from dragoman.errors import SettingsError
from dragoman.server_tools.base import Hit, Page, SearchScope, ServerToolError
from dragoman.server_tools.html_text import text_of
from dragoman.server_tools.ranking import Ranking

# A name that the standards keep free: it never leads anywhere else.
ADDRESS = "http://folder.invalid/"
_TEXTS = frozenset({".txt", ".md", ".markdown", ".rst"})
_PAGES = frozenset({".html", ".htm"})
_LARGEST = 2 * 1024 * 1024
_MOST_FILES = 10_000
# A search holds all of it in memory, in words, a few times over.
_MOST_BYTES = 64 * 1024 * 1024
_MOST_HITS = 8
_PASSAGE = 1200


class _Passage(NamedTuple):
    """A part of a file."""

    url: str
    title: str
    text: str


class FolderTools:
    """`web_search` and `web_fetch` over the texts, Markdown and HTML files below a folder.

    Nothing outside is read: not by `..`, not by a link that leads out. Hidden files are left out, and so are
    those of more than 2 MiB. The files are read anew for each search, so that what is written is found, and
    no more than the first 64 MiB of them.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise SettingsError(f"settings: server_tools.folder: {folder.absolute()} is no folder")
        self._root = folder.resolve()

    async def search(self, query: str, scope: SearchScope) -> list[Hit]:
        """The best passage of each file that speaks of the query, the best files first."""
        return await asyncio.to_thread(self._search, query)

    async def fetch(self, url: str) -> Page:
        """The file at one of this folder's addresses."""
        if not url.startswith(ADDRESS):
            raise ServerToolError("url_not_accessible", "it is no address of the folder")
        return await asyncio.to_thread(self._fetch, url)

    def _search(self, query: str) -> list[Hit]:
        passages = [passage for file in self._files() for passage in self._passages(file)]
        hits: dict[str, Hit] = {}
        for number in Ranking([f"{passage.title}\n{passage.text}" for passage in passages]).best(query):
            url, title, text = passages[number]
            hits.setdefault(url, Hit(title=title, url=url, text=text))
            if len(hits) == _MOST_HITS:
                break
        return list(hits.values())

    def _fetch(self, url: str) -> Page:
        name = os.fsdecode(unquote_to_bytes(urlsplit(url).path)).lstrip("/")
        if "\0" in name:
            raise ServerToolError("url_not_accessible", "no file has such a name")
        file = self._root / name
        if file.suffix.lower() not in _TEXTS | _PAGES:
            raise ServerToolError("unsupported_content_type", "neither text, Markdown nor HTML")
        try:
            if not self._is_inside(file) or not file.is_file() or _is_hidden(file.relative_to(self._root)):
                raise ServerToolError("url_not_accessible", "there is no such file in the folder")
            if file.stat().st_size > _LARGEST:
                raise ServerToolError("content_too_large", "the file is too large")
            title, text = _read(file)
        except (OSError, RuntimeError) as error:
            # no name that a file can have, a link to itself, or not for us to read
            raise ServerToolError("url_not_accessible", type(error).__name__) from error
        return Page(url=self._url(file), title=title, text=text)

    def _files(self) -> Iterator[Path]:
        """The files in the order of their names, some thousand and some MiB at most."""
        found = read = 0
        for place, folders, names in os.walk(self._root):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(names):
                file = Path(place, name)
                size = self._size(file)
                if size is None:
                    continue
                read += size
                if found == _MOST_FILES or read > _MOST_BYTES:
                    return
                found += 1
                yield file

    def _size(self, file: Path) -> int | None:
        """A file's bytes; None for one that is not searched, or is gone since."""
        try:
            is_searched = _is_text(file) and self._is_inside(file)
            size = file.stat().st_size if is_searched else _LARGEST + 1
        except OSError:
            return None
        return size if size <= _LARGEST else None

    def _is_inside(self, file: Path) -> bool:
        return file.resolve().is_relative_to(self._root)

    def _passages(self, file: Path) -> Iterator[_Passage]:
        try:
            title, text = _read(file)
        except OSError:
            return  # gone since, or not for us to read
        url = self._url(file)
        for passage in _cut(text):
            yield _Passage(url, title, passage)

    def _url(self, file: Path) -> str:
        # of the name's bytes, since not every name is text
        return ADDRESS + quote(os.fsencode(os.path.normpath(file.relative_to(self._root))))


def _is_text(file: Path) -> bool:
    return not file.name.startswith(".") and file.suffix.lower() in _TEXTS | _PAGES and file.is_file()


def _is_hidden(relative: Path) -> bool:
    return any(part.startswith(".") for part in relative.parts)


def _read(file: Path) -> tuple[str, str]:
    """A file's title and text."""
    written = file.read_text(encoding="utf-8", errors="replace")
    if file.suffix.lower() in _PAGES:
        page = text_of(written)
        return page.title or file.name, page.body
    first = written.lstrip().partition("\n")[0].strip()
    title = first.lstrip("#").strip() if first.startswith("#") else ""
    return title or file.name, written


def _cut(text: str) -> Iterator[str]:
    """Passages of about the same length, cut between paragraphs where that is possible."""
    passage = ""
    for paragraph in text.split("\n\n"):
        if passage and len(passage) + len(paragraph) > _PASSAGE:
            yield passage
            passage = ""
        passage = f"{passage}\n\n{paragraph}" if passage else paragraph
        while len(passage) > 2 * _PASSAGE:
            yield passage[:_PASSAGE]
            passage = passage[_PASSAGE:]
    if passage.strip():
        yield passage
