"""Calls whose name stands before the arguments: `[TOOL_CALLS]find[ARGS]{...}`, and their like."""

from __future__ import annotations

import re

import msgspec

from dragoman.translate.parsers.reader import CallReader, Go, ObjectReader, Said
from dragoman.translate.parsers.tape import Tape


class NamedSyntax(msgspec.Struct, frozen=True, kw_only=True):
    """How such a call is spelled.

    head: a pattern of all that stands between the opener and the arguments' brace, with the groups `name`
    and, where there is one, `id`. skipped: marks after the arguments that say nothing. again: what begins
    the head of another call. closers: what ends the calls; without any, other text does.
    """

    opener: str
    head: str
    skipped: tuple[str, ...] = ()
    again: tuple[str, ...] = ()
    closers: tuple[str, ...] = ()


class NamedCalls(CallReader):
    """Reads one call or several; the arguments stream as they come."""

    def __init__(self, syntax: NamedSyntax) -> None:
        self._syntax = syntax
        self._head = re.compile(syntax.head, re.DOTALL)
        self._opener = ""
        self._object: ObjectReader | None = None
        self._is_behind = False
        self._has_called = False

    def begin(self, opener: str) -> None:
        """The section's marker."""
        self._opener = opener
        self._object = None
        self._is_behind = self._has_called = False

    def step(self, tape: Tape, said: Said) -> Go:
        """A head, arguments, or what follows them."""
        if self._object is not None:
            go = self._object.step(tape, said)
            if go is not Go.WAIT:
                self._object, self._is_behind = None, True
            return go
        return self._behind(tape) if self._is_behind else self._before(tape, said)

    def _before(self, tape: Tape, said: Said) -> Go:
        brace = tape.text.find("{")
        ends = [at for closer in self._syntax.closers if (at := tape.text.find(closer)) >= 0]
        if brace < 0 and not ends:
            return Go.WAIT
        head = self._head.fullmatch(tape.text, 0, brace) if brace >= 0 else None
        if head is None:
            return self._no_call(tape, said)
        groups = head.groupdict()
        tape.take(brace)
        said.call(groups["name"], groups.get("id"))
        self._object, self._has_called = ObjectReader(), True
        return Go.ON

    def _no_call(self, tape: Tape, said: Said) -> Go:
        """Nothing that was meant as a call: it is text; behind calls their mark says nothing more."""
        if not self._has_called:
            said.text(self._opener)
        return Go.DONE

    def _behind(self, tape: Tape) -> Go:
        syntax, rest = self._syntax, tape.text.lstrip()
        for marks, go in ((syntax.skipped, Go.ON), (syntax.closers, Go.DONE)):
            mark = next((mark for mark in marks if rest.startswith(mark)), None)
            if mark is not None:
                tape.take(len(tape.text) - len(rest) + len(mark))
                return go
        if any(rest.startswith(mark) for mark in syntax.again):
            tape.take(len(tape.text) - len(rest))
            if syntax.opener in syntax.again:
                tape.take(len(syntax.opener))
            self._is_behind = False
            return Go.ON
        marks = (*syntax.skipped, *syntax.closers, *syntax.again)
        return Go.WAIT if any(mark.startswith(rest) for mark in marks) else Go.DONE

    def close(self, tape: Tape, said: Said) -> None:
        """A call whose arguments began was cut; a head that is not whole is text."""
        if self._object is None and not self._is_behind and not self._has_called:
            said.text(self._opener + tape.take(len(tape.text)))
