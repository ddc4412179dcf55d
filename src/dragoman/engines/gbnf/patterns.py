"""Regular expressions in the form that llama.cpp's grammars follow.

llama.cpp ignores much of what a pattern may hold, and lets some of it break the JSON around it. What is
written here stays inside a JSON string: no quote, no backslash, no control character. It may match less than
the original does, and never more.
"""

from __future__ import annotations

import re

Ranges = list[tuple[int, int]]

# Characters that stand in a JSON string as themselves; half a surrogate pair is none.
_SAFE: Ranges = [(0x20, 0x21), (0x23, 0x5B), (0x5D, 0x7E), (0x80, 0xD7FF), (0xE000, 0x10FFFF)]
_SHORT: dict[str, Ranges] = {
    "d": [(0x30, 0x39)],
    "w": [(0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A)],
    "s": [(0x20, 0x20)],
}
_SPACES: Ranges = [(0x09, 0x0D), (0x20, 0x20), (0x85, 0x85), (0xA0, 0xA0), (0x1680, 0x1680), (0x2000, 0x200A)]
_SPACES += [(0x2028, 0x2029), (0x202F, 0x202F), (0x205F, 0x205F), (0x3000, 0x3000), (0xFEFF, 0xFEFF)]
_quantifier = re.compile(r"(?:[*+?]|\{(?P<least>\d+)(?:,(?P<most>\d*))?\})(?P<lazy>\??)").match
# More repetitions than these are no grammar any more.
MOST_REPETITIONS = 1000
_escape = re.compile(r"\\(?:u(?P<u>[0-9A-Fa-f]{4})|x(?P<x>[0-9A-Fa-f]{2})|(?P<one>.))", re.DOTALL).match


class _NotFollowedError(Exception):
    """The pattern holds what no grammar of ours says."""


def followed_pattern(pattern: str) -> str | None:
    """A pattern that llama.cpp follows, all of whose matches are the original's; None if there is none."""
    try:
        ways = [_anchored(way) for way in _alternatives(pattern)]
    except _NotFollowedError:
        return None
    return f"^{ways[0]}$" if len(ways) == 1 else f"^(?:{'|'.join(ways)})$"


def _alternatives(pattern: str) -> list[str]:
    """The pattern's alternatives, each of which has anchors of its own."""
    ways, depth, begin, place = [], 0, 0, 0
    while place < len(pattern):
        char = pattern[place]
        if char == "\\":
            place += 1
        elif char == "[":
            place = _class_end(pattern, place)
        elif char in "()":
            depth += 1 if char == "(" else -1
        elif char == "|" and not depth:
            ways.append(pattern[begin:place])
            begin = place + 1
        place += 1
    return [*ways, pattern[begin:]]


def _class_end(pattern: str, begin: int) -> int:
    place = begin + 1
    while place < len(pattern) and pattern[place] != "]":
        place += 2 if pattern[place] == "\\" else 1
    return place


def _anchored(way: str) -> str:
    """One alternative, with any text where it has no anchor."""
    anything = f"{_written(_SAFE)}*"
    before, after = anything, anything
    if way.startswith("^"):
        before, way = "", way[1:]
    if way.endswith("$") and not re.search(r"(?<!\\)(?:\\\\)*\\\$$", way):
        after, way = "", way[:-1]
    inner = _Body(way).read() if way else ""
    return f"{before}{inner}{after}"


class _Body:
    """Reads one alternative without its anchors."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._place = 0
        self._depth = 0
        self._out: list[str] = []

    def read(self) -> str:
        """The alternative as llama.cpp follows it."""
        while self._place < len(self._text):
            self._piece(self._text[self._place])
        if self._depth:
            raise _NotFollowedError
        return "".join(self._out)

    def _piece(self, char: str) -> None:
        if char in "()|":
            self._group(char)
        elif char == "[":
            end = _class_end(self._text, self._place)
            self._put(_written(_class(self._text[self._place + 1 : end])), end + 1)
        elif char == ".":
            self._put(_written(_SAFE), self._place + 1)
        elif char == "\\":
            ranges, length = _escaped(self._text, self._place)
            self._put(_written(ranges), self._place + length)
        elif char in "^$*+?{}]":
            raise _NotFollowedError
        else:
            self._put(_written([(ord(char), ord(char))]), self._place + 1)

    def _group(self, char: str) -> None:
        begins = char == "("
        if begins and self._text.startswith("(?", self._place):
            if not self._text.startswith("(?:", self._place):
                raise _NotFollowedError
            self._place += 2
        self._depth += {"(": 1, ")": -1, "|": 0}[char]
        if char == ")":
            self._put(")", self._place + 1)
            return
        self._out.append("(?:" if begins else "|")
        self._place += 1

    def _put(self, piece: str, place: int) -> None:
        """Adds what may be repeated, with its repetition."""
        found = _quantifier(self._text, place)
        if found is None:
            self._out.append(piece)
            self._place = place
            return
        least = int(found["least"] or 0)
        # more at least than at most hangs llama.cpp
        if not least <= int(found["most"] or least) <= MOST_REPETITIONS:
            raise _NotFollowedError
        # what is taken first makes no difference where all is matched
        self._out.append(piece + found[0].removesuffix(found["lazy"]))
        self._place = found.end()


def _class(inner: str) -> Ranges:
    """The characters of a class."""
    negated = inner.startswith("^")
    place = 1 if negated else 0
    ranges: Ranges = []
    while place < len(inner):
        found, place = _member(inner, place)
        if inner.startswith("-", place) and place + 1 < len(inner) and len(found) == 1:
            last, place = _member(inner, place + 1)
            found = [(found[0][0], last[-1][1])]
        ranges += found
    return _without(_SAFE, ranges) if negated else ranges


def _member(inner: str, place: int) -> tuple[Ranges, int]:
    if inner[place] == "\\":
        ranges, length = _escaped(inner, place)
        return ranges, place + length
    return [(ord(inner[place]), ord(inner[place]))], place + 1


def _escaped(text: str, place: int) -> tuple[Ranges, int]:
    """The characters that an escape stands for, and its length."""
    found = _escape(text, place)
    if found is None:
        raise _NotFollowedError
    one = found["one"]
    if one is None:
        code = int(found["u"] or found["x"], 16)
        return [(code, code)], len(found[0])
    if one in _SHORT:
        return _SHORT[one], 2
    if one in {"D", "W", "S"}:
        return _without(_SAFE, _SPACES if one == "S" else _SHORT[one.lower()]), 2
    if one.isalnum():
        raise _NotFollowedError
    return [(ord(one), ord(one))], 2


def _without(ranges: Ranges, holes: Ranges) -> Ranges:
    """The characters of some ranges that are in none of the others."""
    for low, high in holes:
        kept: Ranges = []
        for first, last in ranges:
            kept += [(first, min(last, low - 1)), (max(first, high + 1), last)]
        ranges = [(first, last) for first, last in dict.fromkeys(kept) if first <= last]
    return ranges


def _written(ranges: Ranges) -> str:
    """A class of the characters that may stand in a JSON string as themselves."""
    unsafe = _without([(0, 0x10FFFF)], _SAFE)
    safe = _without(ranges, unsafe)
    if not safe:
        raise _NotFollowedError
    if len(safe) == 1 and safe[0][0] == safe[0][1] and chr(safe[0][0]).isalnum() and safe[0][0] < 0x80:
        return chr(safe[0][0])
    return f"[{''.join(_code(a) if a == b else f'{_code(a)}-{_code(b)}' for a, b in safe)}]"


def _code(number: int) -> str:
    char = chr(number)
    if number < 0x80:
        return char if char.isalnum() else f"\\x{number:02X}"
    return f"\\u{number:04X}" if number < 0x10000 else f"\\U{number:08X}"
