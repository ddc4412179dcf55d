"""How deep JSON is nested, found without going down itself: what no parser takes can still be named."""

from __future__ import annotations

import re

Steps = tuple[str | int, ...]
"""Keys and numbers that lead from the whole to a part."""

# A string and whether it is a key, or what changes where one stands; possessive, so that no text takes long.
_TOKEN = re.compile(rb'"([^"\\]*+(?:\\.[^"\\]*+)*+)"(?:\s*+(:))?+|([\[{])|([\]}])|(,)', re.DOTALL)
# A token takes some hundred nanoseconds, and this runs where tokens of other requests are streaming.
LOOKED_AT = 1024 * 1024
_SHOWN = 12
_SHOWN_OF_A_STEP = 80


def beyond(data: bytes | bytearray, most: int) -> Steps | None:
    """Where JSON first has more than `most` levels of arrays and objects; None where it has not.

    Of a large text only the beginning is looked at.
    """
    steps: list[str | int] = []
    for token in _TOKEN.finditer(data, 0, LOOKED_AT):
        key, is_key, opens, closes, comma = token.groups()
        if opens:
            if len(steps) == most:
                return tuple(steps)
            steps.append(0 if opens == b"[" else "")
        elif is_key:
            if steps:
                steps[-1] = key.decode("utf-8", "replace")
        elif closes and steps:
            steps.pop()
        elif comma and steps and isinstance(steps[-1], int):
            steps[-1] += 1
    return None


def shown(steps: Steps) -> str:
    """The beginning of a long way down, as a path."""
    begins = ".".join(_short(str(step)) for step in steps[:_SHOWN])
    return f"{begins}..." if len(steps) > _SHOWN else begins


def _short(step: str) -> str:
    return step if len(step) <= _SHOWN_OF_A_STEP else f"{step[:_SHOWN_OF_A_STEP]}..."
