"""Text that grows on a terminal: which part of it is finished, and how each part looks."""

from __future__ import annotations

from typing import Protocol

from rich.console import RenderableType
from rich.markdown import Markdown
from rich.padding import Padding
from rich.text import Text

_CODE = "ansi_dark"


class Flow(Protocol):
    """A text that grows."""

    def add(self, text: str) -> None:
        """More of it."""

    def finished(self) -> RenderableType | None:
        """What cannot change any more and was not given yet; None where there is nothing."""

    def rest(self) -> RenderableType | None:
        """What is left, when nothing more comes."""

    def growing(self, height: int) -> RenderableType:
        """What may still change, at least its last `height` lines."""


class MarkdownFlow:
    """Markdown. Its top-level blocks are finished when another one has begun after them."""

    def __init__(self) -> None:
        self._text = ""
        self._parsed = 0

    def add(self, text: str) -> None:
        """More of it."""
        self._text += text

    def finished(self) -> RenderableType | None:
        """All blocks before the last one."""
        # only a new line can begin a block
        lines = self._text.count("\n")
        if lines == self._parsed:
            return None
        self._parsed = lines
        start = _start_of_last_block(self._text[: self._text.rfind("\n") + 1])
        if not start:
            return None
        done, self._text = _cut(self._text, start)
        self._parsed = self._text.count("\n")
        return _markdown(done)

    def rest(self) -> RenderableType | None:
        """The last block."""
        text, self._text = self._text, ""
        return _markdown(text) if text.strip() else None

    def growing(self, height: int) -> RenderableType:
        """The last block; of long code only the end, since colouring all of it again takes long."""
        lines = self._text.splitlines()
        if len(lines) > height and lines[0].startswith(("```", "~~~")):
            return _markdown("\n".join([lines[0], *lines[-height:]]))
        return _markdown(self._text)


class ThoughtFlow:
    """Thinking: dim, and finished line by line."""

    def __init__(self) -> None:
        self._text = ""

    def add(self, text: str) -> None:
        """More of it."""
        self._text += text

    def finished(self) -> RenderableType | None:
        """All paragraphs before the last one."""
        end = self._text.rfind("\n\n") + 1
        if not end:
            return None
        done, self._text = self._text[:end], self._text[end:].lstrip("\n")
        return _thought(done) if done.strip() else None

    def rest(self) -> RenderableType | None:
        """The last paragraph."""
        text, self._text = self._text, ""
        return _thought(text) if text.strip() else None

    def growing(self, height: int) -> RenderableType:
        """The last paragraph."""
        return _thought(self._text)


def _start_of_last_block(text: str) -> int:
    """The line at which the last top-level block begins, 0 for the first line."""
    tokens = Markdown(text).parsed
    return max((token.map[0] for token in tokens if token.level == 0 and token.map), default=0)


def _cut(text: str, line: int) -> tuple[str, str]:
    lines = text.split("\n")
    return "\n".join(lines[:line]), "\n".join(lines[line:])


def _markdown(text: str) -> Markdown:
    return Markdown(text, code_theme=_CODE)


def _thought(text: str) -> RenderableType:
    return Padding(Text(text.strip(), style="dim italic"), (0, 0, 0, 2))
