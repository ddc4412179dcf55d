"""Finds the call that a model writes as text, from as few characters as can be."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from enum import Enum, auto

_SPACE = r"\s*+"
_NAME = r'(?P<name>[^"\\]{0,128}+)'
# `{"name": "some_tool"`, in pieces that a beginning may end between. Small models also write a comma or a
# parenthesis before it, and double the brace.
_BRACE = (_SPACE, ",?+", _SPACE, r"\(?+", _SPACE, r"\{{1,2}+")
_NAMED = (*_BRACE, _SPACE, *'"name"', _SPACE, ":", _SPACE, '"', _NAME, '"')
# Behind a name that no tool has: only the key of the arguments tells a call from any other object.
_CALL = (*_NAMED, _SPACE, ",", _SPACE, *'"arguments"')


def _any_beginning(pieces: Sequence[str]) -> re.Pattern[str]:
    """The pattern of every text that some text of these pieces begins with."""
    nested = ""
    for piece in reversed(pieces):
        nested = f"(?:{piece}{nested})?+"
    return re.compile(nested)


_named = re.compile("".join(_NAMED)).match
_call = re.compile("".join(_CALL)).match
_beginning = _any_beginning(_CALL).fullmatch


class Verdict(Enum):
    """What is known of an answer so far."""

    OPEN = auto()
    TEXT = auto()
    CALL = auto()


class CallRecogniser:
    """Holds back only what may still be a call; any split of an answer's text gives the same.

    A call at the beginning is a JSON object whose first key is `name` with the name of a tool, or with
    another name and then the key `arguments`; white space, one of `fences`, a comma and a parenthesis may
    stand before it, and its brace may be doubled. One of `marks` begins a call wherever it stands, whatever
    follows. `tool` is the name of the tool that is called, None where it is not known.
    """

    def __init__(self, tools: Collection[str], fences: Sequence[str] = (), marks: Sequence[str] = ()) -> None:
        self._tools = tools
        # the longest first: one may begin with another
        self._openings = sorted({*fences, *marks}, key=len, reverse=True)
        self._marks = frozenset(marks)
        self._held = ""
        self.verdict = Verdict.OPEN
        self.tool: str | None = None

    def feed(self, piece: str) -> str:
        """The text that may be shown: none while it may be a call, and none of a call."""
        if self.verdict is Verdict.CALL:
            return ""
        self._held += piece
        if self.verdict is Verdict.OPEN:
            self.verdict = self._judge(self._held)
        return self._text() if self.verdict is Verdict.TEXT else ""

    def flush(self) -> str:
        """What was held back of an answer that is no call, or that ended before it could be one."""
        held, self._held = self._held, ""
        return held

    def _text(self) -> str:
        """What may be shown of text: all before a mark, or before what may become one."""
        held = self._held
        places = [at for mark in self._marks if (at := held.find(mark)) >= 0]
        if places:
            end = min(places)
            self._held = held[end:]
            self.verdict = self._judge(self._held)
        else:
            end = len(held) - self._possible_mark(held)
            self._held = held[end:]
        return held[:end]

    def _possible_mark(self, text: str) -> int:
        """How many characters at the end may be the beginning of a mark."""
        longest = max(map(len, self._marks), default=1) - 1
        lengths = range(min(longest, len(text)), 0, -1)
        return next(
            (length for length in lengths if any(mark.startswith(text[-length:]) for mark in self._marks)), 0
        )

    def _judge(self, text: str) -> Verdict:
        rest = text.lstrip()
        opening = next((one for one in self._openings if rest.startswith(one)), "")
        if any(one != opening and one.startswith(rest) for one in self._openings):
            return Verdict.OPEN
        verdict = self._judge_object(rest[len(opening) :])
        return Verdict.CALL if verdict is Verdict.TEXT and opening in self._marks else verdict

    def _judge_object(self, text: str) -> Verdict:
        found = _named(text)
        if found is not None and found["name"] in self._tools:
            self.tool = found["name"]
            return Verdict.CALL
        if _call(text) is not None:
            return Verdict.CALL
        return Verdict.OPEN if _beginning(text) is not None else Verdict.TEXT
