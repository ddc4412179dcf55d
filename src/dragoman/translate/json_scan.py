"""An incremental scanner of a call's arguments: it reads each character once, however the text was cut.

It accepts exactly the beginnings of one JSON object (RFC 8259, surrogate escapes in pairs), so that a stream
which passed it can be read by every client, also where `max_tokens` cut it.
"""

from __future__ import annotations

import re
from enum import IntEnum, auto

# What the official SDKs' parser reads: more levels or longer numbers are errors to it.
MAX_DEPTH = 200
MAX_NUMBER = 4300

_plain = re.compile(r'(?:[^"\\\x00-\x1f]+|\\["\\/bfnrt])*+').match
_WHITE = " \t\n\r"
_OPENERS = {"{": "}", "[": "]"}
_LITERALS = {"t": "rue", "f": "alse", "n": "ull"}


class ArgumentsError(ValueError):
    """Text that no JSON object begins with; the message says where, never what."""


class _At(IntEnum):
    """What comes next."""

    START = auto()
    KEY_OR_END = auto()
    KEY = auto()
    COLON = auto()
    VALUE = auto()
    VALUE_OR_END = auto()
    AFTER_MEMBER = auto()
    AFTER_ELEMENT = auto()
    STRING = auto()
    ESCAPE = auto()
    HEX = auto()
    HEX_LOW = auto()
    LOW_BACKSLASH = auto()
    LOW_U = auto()
    LITERAL = auto()
    MINUS = auto()
    ZERO = auto()
    DIGITS = auto()
    POINT = auto()
    FRACTION = auto()
    E = auto()
    E_SIGN = auto()
    EXPONENT = auto()
    DONE = auto()
    # What to do, rather than where to stand; only ever found in the table.
    OPEN = auto()
    CLOSE = auto()
    OPEN_KEY = auto()
    OPEN_STRING = auto()
    OPEN_LITERAL = auto()
    OPEN_HEX = auto()
    OPEN_HEX_LOW = auto()
    OPEN_MINUS = auto()
    OPEN_ZERO = auto()
    OPEN_DIGITS = auto()


def _row(*moves: tuple[str, _At]) -> dict[str, _At]:
    return {char: to for chars, to in moves for char in chars}


_DIGIT = "0123456789"
_VALUES = (
    ("{[", _At.OPEN),
    ('"', _At.OPEN_STRING),
    ("tfn", _At.OPEN_LITERAL),
    ("-", _At.OPEN_MINUS),
    ("0", _At.OPEN_ZERO),
    ("123456789", _At.OPEN_DIGITS),
)
_TABLE: dict[_At, dict[str, _At]] = {
    _At.START: _row((_WHITE, _At.START), ("{", _At.OPEN)),
    _At.KEY_OR_END: _row((_WHITE, _At.KEY_OR_END), ('"', _At.OPEN_KEY), ("}", _At.CLOSE)),
    _At.KEY: _row((_WHITE, _At.KEY), ('"', _At.OPEN_KEY)),
    _At.COLON: _row((_WHITE, _At.COLON), (":", _At.VALUE)),
    _At.VALUE: _row((_WHITE, _At.VALUE), *_VALUES),
    _At.VALUE_OR_END: _row((_WHITE, _At.VALUE_OR_END), ("]", _At.CLOSE), *_VALUES),
    _At.AFTER_MEMBER: _row((_WHITE, _At.AFTER_MEMBER), (",", _At.KEY), ("}", _At.CLOSE)),
    _At.AFTER_ELEMENT: _row((_WHITE, _At.AFTER_ELEMENT), (",", _At.VALUE), ("]", _At.CLOSE)),
    _At.ESCAPE: _row(('"\\/bfnrt', _At.STRING), ("u", _At.OPEN_HEX)),
    _At.LOW_BACKSLASH: _row(("\\", _At.LOW_U)),
    _At.LOW_U: _row(("u", _At.OPEN_HEX_LOW)),
    _At.MINUS: _row(("0", _At.ZERO), ("123456789", _At.DIGITS)),
    _At.ZERO: _row((".", _At.POINT), ("eE", _At.E)),
    _At.DIGITS: _row((_DIGIT, _At.DIGITS), (".", _At.POINT), ("eE", _At.E)),
    _At.POINT: _row((_DIGIT, _At.FRACTION)),
    _At.FRACTION: _row((_DIGIT, _At.FRACTION), ("eE", _At.E)),
    _At.E: _row(("+-", _At.E_SIGN), (_DIGIT, _At.EXPONENT)),
    _At.E_SIGN: _row((_DIGIT, _At.EXPONENT)),
    _At.EXPONENT: _row((_DIGIT, _At.EXPONENT)),
}
# A number has no end of its own: in these states it may be over.
_NUMBER_MAY_END = frozenset({_At.ZERO, _At.DIGITS, _At.FRACTION, _At.EXPONENT})
_IN_NUMBER = _NUMBER_MAY_END | {_At.MINUS, _At.POINT, _At.E, _At.E_SIGN}


class ArgumentScanner:
    """One call's argument text, as far as it has come."""

    __slots__ = ("_after_string", "_at", "_number", "_rest", "_safe", "_stack", "_total")

    def __init__(self) -> None:
        self._at = _At.START
        self._stack: list[str] = []  # the closing characters that are still due
        self._total = 0  # characters before this fragment
        self._safe = 0  # where the last complete value, or the opening of a container, ended
        self._number = 0  # where the number began
        self._rest = ""  # of a literal, or the hexadecimal digits so far
        self._after_string = _At.COLON

    @property
    def begun(self) -> bool:
        """Whether the object's opening brace has come."""
        return self._at is not _At.START

    @property
    def loose(self) -> int:
        """How many characters at the end belong to a number that may go on."""
        return self._total - self._number if self._at in _IN_NUMBER else 0

    @property
    def complete(self) -> bool:
        """Whether the text is one complete object."""
        return self._at is _At.DONE

    def feed(self, text: str) -> int:
        """Takes a fragment; returns how many of its characters belong to the object.

        White space before the object belongs to it, white space after it is ignored. Raises
        `ArgumentsError` for a character that cannot come.
        """
        pos, end = 0, len(text)
        if self._at is _At.STRING and (found := _plain(text)) is not None:
            pos = found.end()  # most fragments are the inside of a string
        while pos < end:
            at = self._at
            if at is _At.STRING:
                pos = self._string(text, pos)
                continue
            if at is _At.DONE:
                if not text[pos:].isspace():
                    raise self._wrong(pos)
                break
            to = _TABLE[at].get(text[pos]) if at in _TABLE else None
            if to is None:
                pos += self._irregular(text[pos], pos)
                continue
            if to > _At.DONE:
                self._act(to, text[pos], pos)
            else:
                self._at = to
            pos += 1
        self._total += pos
        if self._at in _IN_NUMBER:
            self._check_number(self._total)
        return pos

    def partial(self, text: str) -> str:
        """The object with the members whose values are complete, out of all text that was fed.

        Containers that are open are closed. A number at the very end may go on, so it is not complete.
        """
        return text[: self._safe] + "".join(reversed(self._stack)) if self.begun else "{}"

    def _string(self, text: str, pos: int) -> int:
        """Reads to the next character of a string that means something, and that one."""
        found = _plain(text, pos)
        assert found is not None
        pos = found.end()
        if pos == len(text):
            return pos
        if text[pos] == "\\":
            self._at = _At.ESCAPE
        elif text[pos] == '"':
            self._at = self._after_string
            if self._at is not _At.COLON:
                self._safe = self._total + pos + 1
        else:
            raise self._wrong(pos)
        return pos + 1

    def _act(self, to: _At, char: str, pos: int) -> None:
        if to is _At.OPEN:
            self._open(char, pos)
        elif to is _At.CLOSE:
            self._stack.pop()
            self._value_ended(pos + 1)
        elif to is _At.OPEN_KEY:
            self._at, self._after_string = _At.STRING, _At.COLON
        elif to is _At.OPEN_STRING:
            self._at, self._after_string = _At.STRING, self._after_value()
        elif to is _At.OPEN_LITERAL:
            self._at, self._rest = _At.LITERAL, _LITERALS[char]
        elif to is _At.OPEN_HEX or to is _At.OPEN_HEX_LOW:
            self._at, self._rest = (_At.HEX if to is _At.OPEN_HEX else _At.HEX_LOW), ""
        else:
            self._at = _NUMBER_STARTS[to]
            self._number = self._total + pos

    def _open(self, char: str, pos: int) -> None:
        if len(self._stack) == MAX_DEPTH:
            raise self._wrong(pos)
        self._stack.append(_OPENERS[char])
        self._at = _At.KEY_OR_END if char == "{" else _At.VALUE_OR_END
        self._safe = self._total + pos + 1

    def _irregular(self, char: str, pos: int) -> int:
        """Takes a character that the table lacks; returns 0 where it only ended a number, else 1."""
        if self._at is _At.LITERAL and char == self._rest[0]:
            self._rest = self._rest[1:]
            if not self._rest:
                self._value_ended(pos + 1)
            return 1
        if self._at in (_At.HEX, _At.HEX_LOW) and char in "0123456789abcdefABCDEF":
            self._hex(self._rest + char, pos)
            return 1
        if self._at in _NUMBER_MAY_END:
            self._check_number(self._total + pos)
            self._value_ended(pos)
            return 0
        raise self._wrong(pos)

    def _hex(self, digits: str, pos: int) -> None:
        self._rest = digits
        if len(digits) < 4:
            return
        code = int(digits, 16)
        if (0xDC00 <= code < 0xE000) is not (self._at is _At.HEX_LOW):
            raise self._wrong(pos)
        self._at = _At.LOW_BACKSLASH if 0xD800 <= code < 0xDC00 else _At.STRING

    def _value_ended(self, pos: int) -> None:
        self._safe = self._total + pos
        self._at = self._after_value()

    def _after_value(self) -> _At:
        if not self._stack:
            return _At.DONE
        return _At.AFTER_MEMBER if self._stack[-1] == "}" else _At.AFTER_ELEMENT

    def _check_number(self, end: int) -> None:
        if end - self._number > MAX_NUMBER:
            raise self._wrong(end - self._total)

    def _wrong(self, pos: int) -> ArgumentsError:
        return ArgumentsError(f"no JSON object at character {self._total + pos}")


_NUMBER_STARTS = {_At.OPEN_MINUS: _At.MINUS, _At.OPEN_ZERO: _At.ZERO, _At.OPEN_DIGITS: _At.DIGITS}
