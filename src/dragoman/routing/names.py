"""What an asked model name means: a served model, by itself or by an alias."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

# What an error repeats of a name that nobody knows, in characters.
_LONGEST = 200


def target_of(requested: str, aliases: Mapping[str, str]) -> str | None:
    """What the first alias that fits a name means ("" for the default model); None where none does."""
    return next((to for alias, to in aliases.items() if _pattern(alias).fullmatch(requested)), None)


def shown(name: str) -> str:
    """A name that a client made up, short and quoted, so that a log line can leave it out."""
    return repr(name if len(name) <= _LONGEST else f"{name[:_LONGEST]}...")


@lru_cache(maxsize=256)
def _pattern(pattern: str) -> re.Pattern[str]:
    """An alias pattern: `*` is any text, `?` any character, all else is itself."""
    escaped = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    return re.compile(escaped, re.DOTALL)
