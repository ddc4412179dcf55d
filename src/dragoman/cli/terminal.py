"""What goes to a terminal: words of others, and what is drawn for people."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Callable

from rich.console import Console

# What could move the cursor, ring or recolour: a model's words are only words.
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def harmless(text: str) -> str:
    """The text without characters that a terminal obeys."""
    return _CONTROLS.sub("", text)


def harmless_line(text: str) -> str:
    """The same in one line, for what stands between a program's own words."""
    return " ".join(harmless(text).splitlines())


def drawn(draw: Callable[[Console], None]) -> str:
    """What is drawn for people, as it suits standard output: with colours and its width at a terminal.

    Nothing is written: the library's own writing ends with a trace where the disk is full.
    """
    terminal = Console(file=sys.stdout)
    text = io.StringIO()
    draw(Console(file=text, force_terminal=terminal.is_terminal, width=terminal.width, highlight=False))
    return text.getvalue()
