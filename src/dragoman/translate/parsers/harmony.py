"""Harmony, the format of gpt-oss: messages in channels, calls as messages with a recipient."""

from __future__ import annotations

import re
from collections.abc import Callable

from dragoman.translate.parsers.reader import Said
from dragoman.translate.parsers.tape import Tape
from dragoman.wire.openai import ChatDelta

_TURN = "<|start|>assistant"
_MESSAGE = "<|message|>"
_ENDS = ("<|end|>", "<|call|>", "<|return|>", "<|start|>")
_RECIPIENT = re.compile(r"to=functions\.([\w.-]+)")
_CHANNEL = re.compile(r"<\|channel\|>\s*(\w+)")


class HarmonyParser:
    """Reads an answer that goes on after `<|start|>assistant`.

    Analysis is thinking; commentary to a function is a call; anything else is text. A body that no header
    announces is text too.
    """

    def __init__(self, *, in_thinking: bool = False) -> None:
        self._tape = Tape()
        self._said = Said()
        self._say: Callable[[str], None] = self._said.thinking if in_thinking else self._said.text
        self._step = self._in_body if in_thinking else self._in_header

    def feed(self, text: str) -> list[ChatDelta]:
        """What this piece adds."""
        self._tape.feed(text)
        while self._step():
            pass
        return self._said.drain()

    def close(self) -> list[ChatDelta]:
        """What was held back; a header whose body never came says nothing."""
        # what is held back in a body begins a marker: half of one is no part of arguments
        if self._step == self._in_body and self._say != self._said.arguments:
            self._say(self._tape.text)
        return self._said.drain()

    def _in_header(self) -> bool:
        """Up to the body; an answer that begins with words has no header."""
        text = self._tape.text
        if not _is_header(text):
            self._say, self._step = self._said.text, self._in_body
            return True
        at = text.find(_MESSAGE)
        if at < 0:
            return False
        header = self._tape.take(at + len(_MESSAGE))
        recipient, channel = _RECIPIENT.search(header), _CHANNEL.search(header)
        if recipient is not None:
            self._said.call(recipient[1])
            self._say = self._said.arguments
        elif channel is not None and channel[1] == "analysis":
            self._say = self._said.thinking
        else:
            self._say = self._said.text
        self._step = self._in_body
        return True

    def _in_body(self) -> bool:
        before, end = self._tape.until(_ENDS)
        self._say(before)
        if end:
            self._step = self._in_header
        return bool(end)


def _is_header(text: str) -> bool:
    """Whether a text is, or may become, what stands between two messages."""
    text = text.lstrip()
    if _TURN.startswith(text):
        return True
    text = text.removeprefix(_TURN).lstrip()
    return any(text.startswith(start) or start.startswith(text) for start in ("<|channel|>", "to=", _MESSAGE))
