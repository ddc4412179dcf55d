"""What reads calls out of raw text has in common: where it writes them, and how it says how far it is."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from enum import Enum, auto

from dragoman.translate.json_scan import ArgumentScanner, ArgumentsError
from dragoman.translate.parsers.tape import Tape
from dragoman.wire.openai import ChatDelta, FunctionDelta, ToolCallDelta


class Go(Enum):
    """How a reader stands after a step."""

    ON = auto()  # it got on, and may again
    WAIT = auto()  # it needs more text
    DONE = auto()  # the calls are over: what follows is text


class Said:
    """What an answer said so far: deltas in order, taken by `drain`."""

    def __init__(self) -> None:
        self._deltas: list[ChatDelta] = []
        self._calls = -1

    def text(self, text: str) -> None:
        """Text for the reader."""
        if text:
            self._deltas.append(ChatDelta(content=text))

    def thinking(self, text: str) -> None:
        """Thinking."""
        if text:
            self._deltas.append(ChatDelta(reasoning=text))

    def call(self, name: str, call_id: str | None = None) -> None:
        """A new call, with the id that the model gave it, if it did."""
        self._calls += 1
        self._call(FunctionDelta(name=name), call_id)

    def arguments(self, text: str) -> None:
        """More of the newest call's arguments."""
        if text:
            self._call(FunctionDelta(arguments=text))

    def _call(self, function: FunctionDelta, call_id: str | None = None) -> None:
        call = ToolCallDelta(index=self._calls, id=call_id, function=function)
        self._deltas.append(ChatDelta(tool_calls=[call]))

    def drain(self) -> list[ChatDelta]:
        """What was said since the last time."""
        deltas, self._deltas = self._deltas, []
        return deltas


class CallReader(ABC):
    """Reads calls from behind the marker that opened them up to the one that ends them."""

    @abstractmethod
    def begin(self, opener: str) -> None:
        """The marker that opened them was read."""

    @abstractmethod
    def step(self, tape: Tape, said: Said) -> Go:
        """Reads on; what turns out to be no call is said as text, marker and all."""

    @abstractmethod
    def close(self, tape: Tape, said: Said) -> None:
        """The answer ends here: a call that has its name is one that was cut, anything else is text."""


_BRACE = re.compile(r"[^}]*}|[^}]+\Z")


class ObjectReader:
    """Reads one JSON object as it comes, and stops at its end or where it is none any more."""

    def __init__(self) -> None:
        self._scanner = ArgumentScanner()
        self._read: list[str] = []

    def step(self, tape: Tape, said: Said) -> Go:
        """Says what belongs to the object: ON when it is complete, DONE when it is broken.

        What follows its end, or the fault, is left on the tape.
        """
        size, go = 0, Go.WAIT
        for piece in _BRACE.findall(tape.text):
            try:
                self._scanner.feed(piece)
            except ArgumentsError:
                size += self._sound(piece)
                go = Go.DONE
                break
            self._read.append(piece)
            size += len(piece)
            if self._scanner.complete:
                go = Go.ON
                break
        said.arguments(tape.take(size))
        return go

    def _sound(self, piece: str) -> int:
        """How much of a piece with a fault in it stands before the fault."""
        scanner = ArgumentScanner()
        for before in self._read:
            scanner.feed(before)
        size = 0
        while _takes(scanner, piece[size]):
            size += 1
        return size


def _takes(scanner: ArgumentScanner, character: str) -> bool:
    try:
        scanner.feed(character)
    except ArgumentsError:
        return False
    return True
