"""Answers of text in which markers stand for thinking and calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from dragoman.translate.parsers.reader import CallReader, Go, Said
from dragoman.translate.parsers.tape import Tape
from dragoman.wire.openai import ChatDelta

THINK = ("<think>", "</think>")


class MarkedParser:
    """Reads such an answer piece by piece.

    Thinking is known at the answer's beginning only: later the same marker may be what the text is about.
    `readers` are by the markers that open calls; that of "" reads calls without any, at the beginning.
    """

    def __init__(
        self,
        readers: Mapping[str, CallReader],
        *,
        thinking: tuple[str, str] = THINK,
        in_thinking: bool = False,
    ) -> None:
        self._readers = dict(readers)
        self._bare = self._readers.pop("", None)
        self._thinking = thinking
        self._tape = Tape()
        self._said = Said()
        self._reader: CallReader | None = None
        self._step: Callable[[], bool] = self._in_thinking if in_thinking else self._at_start

    def feed(self, text: str) -> list[ChatDelta]:
        """What this piece adds; what may begin a marker is held back."""
        self._tape.feed(text)
        while self._step():
            pass
        return self._said.drain()

    def close(self) -> list[ChatDelta]:
        """What was held back, as it turned out."""
        self._tape.is_over = True
        while self._step():
            pass
        if self._reader is not None:
            self._reader.close(self._tape, self._said)
        elif self._step == self._at_start:
            self._said.text(self._tape.take(len(self._tape.text)))
        return self._said.drain()

    def _at_start(self) -> bool:
        """Whether it thinks, calls or speaks: known at the first mark that is no white space."""
        text = self._tape.text.lstrip()
        opener = self._thinking[0]
        if text.startswith(opener):
            self._tape.take(len(self._tape.text) - len(text) + len(opener))
            self._step = self._in_thinking
            return True
        if opener.startswith(text) and not self._tape.is_over:
            return False
        if not text:
            return False
        if self._bare is not None and text.startswith("{"):
            self._open(self._bare, "")
            return True
        self._step = self._in_text
        return True

    def _in_thinking(self) -> bool:
        before, closer = self._tape.until([self._thinking[1]])
        self._said.thinking(before)
        if closer:
            self._step = self._in_text
        return bool(closer)

    def _in_text(self) -> bool:
        before, opener = self._tape.until(list(self._readers))
        self._said.text(before)
        if opener:
            self._open(self._readers[opener], opener)
        return bool(opener)

    def _open(self, reader: CallReader, opener: str) -> None:
        reader.begin(opener)
        self._reader = reader
        self._step = self._in_calls

    def _in_calls(self) -> bool:
        assert self._reader is not None
        go = self._reader.step(self._tape, self._said)
        if go is Go.DONE:
            self._reader = None
            self._step = self._in_text
        return go is not Go.WAIT
