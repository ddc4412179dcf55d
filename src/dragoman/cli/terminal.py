"""Words of others on their way to a terminal."""

from __future__ import annotations

import re

# What could move the cursor, ring or recolour: a model's words are only words.
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def harmless(text: str) -> str:
    """The text without characters that a terminal obeys."""
    return _CONTROLS.sub("", text)


def harmless_line(text: str) -> str:
    """The same in one line, for what stands between a program's own words."""
    return " ".join(harmless(text).splitlines())
