"""HTML as text: what a reader sees, one block per line.

Also a program, from HTML to a line that is its title, and its text; so it needs the standard library alone.
"""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from typing import NamedTuple

_UNSEEN = frozenset({"script", "style", "noscript", "template", "svg", "head", "iframe", "object"})
_BLOCKS = frozenset(
    {
        *("address", "article", "aside", "blockquote", "br", "dd", "div", "dl", "dt", "figure", "footer"),
        *("form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "li", "main", "nav", "ol", "p", "pre"),
        *("section", "table", "td", "th", "tr", "ul"),
    }
)
_SPACE = re.compile(r"[^\S\n]+")
_LINES = re.compile(r"\s*\n\s*")


class Text(NamedTuple):
    """A page's title, "" without one, and its text."""

    title: str
    body: str


def text_of(html: str) -> Text:
    """The text of a page."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    return Text(_neat("".join(reader.title)).replace("\n", " "), _neat("".join(reader.pieces)))


def _neat(text: str) -> str:
    return _LINES.sub("\n", _SPACE.sub(" ", text)).strip()


class _Reader(HTMLParser):
    """Collects what is seen."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.title: list[str] = []
        self.pieces: list[str] = []
        self._unseen: list[str] = []
        self._in_title = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "title":
            # the one of a drawing is no title of the page
            self._in_title = not self.title and self._unseen in ([], ["head"])
        elif tag == "body":
            self._unseen.clear()
        elif tag in _UNSEEN:
            self._unseen.append(tag)
        elif tag in _BLOCKS:
            self.pieces.append("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag == "title":
            self._in_title = False
        elif tag in self._unseen:
            del self._unseen[self._unseen.index(tag) :]
        elif tag in _BLOCKS:
            self.pieces.append("\n")

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self.title.append(data)
        elif not self._unseen:
            self.pieces.append(data)


if __name__ == "__main__":
    found = text_of(sys.stdin.buffer.read().decode(errors="replace"))
    sys.stdout.buffer.write("\n".join(found).encode(errors="replace"))
