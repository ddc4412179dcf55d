"""Reads a call that comes as JSON text: its name, then its arguments as they come."""

from __future__ import annotations

import re

import msgspec

from dragoman.wire.openai import FunctionDelta, ToolCallDelta

_head = re.compile(
    r'\s*\{\s*"name"\s*:\s*(?P<name>"(?:[^"\\]|\\.)*+")\s*,\s*"arguments"\s*:\s*', re.DOTALL
).match
# What can change how deep a text stands: a whole string, the beginning of one, or a bracket.
_turns = re.compile(r'"(?:[^"\\]|\\.)*+(?P<end>")?|[{}\[\]]', re.DOTALL).finditer


class CallReader:
    """Reads the text `{"name": ..., "arguments": {...}}`, which a grammar holds to that form, in any pieces.

    What follows the arguments is ignored. An answer that was cut before its arguments begin is no call.
    """

    def __init__(self) -> None:
        self._head = ""
        self._depth = 0
        self._in_string = ""  # an open string's last characters: its quote, and a backslash at its end
        self.begun = False
        self.complete = False

    def feed(self, piece: str) -> list[ToolCallDelta]:
        """What a piece of the text adds to the call."""
        if self.begun:
            return self._arguments(piece)
        self._head += piece
        found = _head(self._head)
        # white space goes on until the arguments' first character is here
        if found is None or found.end() == len(self._head):
            return []
        self.begun = True
        name = msgspec.json.decode(found["name"], type=str)
        opening = ToolCallDelta(index=0, function=FunctionDelta(name=name, arguments=""))
        return [opening, *self._arguments(self._head[found.end() :])]

    def _arguments(self, piece: str) -> list[ToolCallDelta]:
        taken = piece[: self._end(piece)]
        return [ToolCallDelta(index=0, function=FunctionDelta(arguments=taken))] if taken else []

    def _end(self, piece: str) -> int:
        """Where the arguments end in a piece; its length where they go on."""
        if self.complete:
            return 0
        before, self._in_string = self._in_string, ""
        text = before + piece
        for turn in _turns(text):
            char = turn[0]
            if char.startswith('"'):
                # an open string takes all but a backslash whose other half is not here yet
                self._in_string = "" if turn["end"] else '"' + text[turn.end() :]
                continue
            self._depth += 1 if char in "{[" else -1
            if not self._depth:
                self.complete = True
                return turn.end() - len(before)
        return len(piece)
