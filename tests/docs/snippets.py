"""The fenced code blocks of the project's Markdown pages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

ROOT = Path(__file__).resolve().parent.parent.parent
_BLOCK = re.compile(
    r"^(?:<!-- not run: (?P<reason>[^\n]+?) -->\n)?```(?P<language>[\w-]*)\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


class Snippet(msgspec.Struct, frozen=True):
    """One code block: where it stands, its language, its text, and why it is not run ("" when it is)."""

    place: str
    language: str
    code: str
    reason: str


def pages() -> Iterator[Path]:
    """All pages of the project: those at the root, and those under docs."""
    yield from sorted(ROOT.glob("*.md"))
    yield from sorted((ROOT / "docs").rglob("*.md"))


def snippets_of(page: Path) -> Iterator[Snippet]:
    """The code blocks of one page."""
    text = page.read_text(encoding="utf-8")
    for found in _BLOCK.finditer(text):
        line = text.count("\n", 0, found.start("code")) + 1
        place = f"{page.relative_to(ROOT)}:{line}"
        yield Snippet(place, found["language"], found["code"], found["reason"] or "")


def all_snippets() -> list[Snippet]:
    """The code blocks of all pages."""
    return [snippet for page in pages() for snippet in snippets_of(page)]
