"""Calls as JSON objects between markers: `<tool_call>{"name": ..., "arguments": {...}}</tool_call>`."""

from __future__ import annotations

import re

import msgspec

from dragoman.translate.parsers.reader import CallReader, Go, ObjectReader, Said
from dragoman.translate.parsers.tape import Tape

_STRING = r'"(?:[^"\\]|\\.)*"'


class JsonSyntax(msgspec.Struct, frozen=True, kw_only=True):
    """The markers, and what the members are called. `closer` "": the calls go on to the answer's end.

    separators: what may stand between two calls, besides white space and the marks of a list.
    """

    opener: str
    closer: str
    name: str = "name"
    arguments: str = "arguments"
    separators: str = ","


class JsonCalls(CallReader):
    """Reads one object, several, or a list of them. A call streams as soon as its arguments begin."""

    def __init__(self, syntax: JsonSyntax) -> None:
        self._syntax = syntax
        self._head = re.compile(
            rf'\{{\s*(?:"(?!{syntax.name}"|{syntax.arguments}")[^"\\]*"\s*:\s*(?:{_STRING}|[\w.+-]+)\s*,\s*)*'
            rf'"{syntax.name}"\s*:\s*({_STRING})\s*,\s*"{syntax.arguments}"\s*:\s*(?=\{{)',
            re.DOTALL,
        )
        self._between = re.compile(rf"[\s\[\]}}{re.escape(syntax.separators)}]+")
        self._opener = ""
        self._object: ObjectReader | None = None
        self._is_in_tail = False
        self._has_called = False

    def begin(self, opener: str) -> None:
        """A marker, or "" where the calls have none."""
        self._opener = opener
        self._object = None
        self._is_in_tail = self._has_called = False

    def step(self, tape: Tape, said: Said) -> Go:
        """An object's head, its arguments, or what follows them."""
        if self._object is not None:
            go = self._object.step(tape, said)
            if go is not Go.WAIT:
                self._object, self._is_in_tail = None, True
            return go
        if self._is_in_tail:
            return self._tail(tape)
        return self._before(tape, said)

    def _tail(self, tape: Tape) -> Go:
        """The rest of the object: its brace; other members say nothing that a call has."""
        end = tape.text.find("}")
        if end < 0:
            return Go.WAIT
        tape.take(end + 1)
        self._is_in_tail = False
        return Go.ON

    def _before(self, tape: Tape, said: Said) -> Go:
        """What stands between calls, up to the next one or the closing marker."""
        space = self._between.match(tape.text)
        size = 0 if space is None else space.end()
        rest = tape.text[size:]
        closer = self._syntax.closer
        if closer and rest.startswith(closer):
            tape.take(size + len(closer))
            return Go.DONE
        if not rest or (closer and closer.startswith(rest)):
            return Go.WAIT
        head = self._head.match(rest)
        if head is not None:
            tape.take(size + head.end())
            said.call(msgspec.json.decode(head[1]))
            self._object, self._has_called = ObjectReader(), True
            return Go.ON
        return self._otherwise(tape, said, size, rest)

    def _otherwise(self, tape: Tape, said: Said, size: int, rest: str) -> Go:
        """An object whose members come in another order is read when it is whole; else it is no call."""
        if rest[0] == "{":
            end = _object_end(rest)
            if end is None:
                return Go.WAIT
            if self._called(rest[:end], said):
                tape.take(size + end)
                return Go.ON
        if self._has_called:
            tape.take(size)
            return Go.DONE
        closer = self._syntax.closer
        end = tape.text.find(closer) + len(closer) if closer and closer in tape.text else -1
        if closer and end < 0 and not tape.is_over:
            return Go.WAIT
        said.text(self._opener + tape.take(end if end >= 0 else len(tape.text)))
        return Go.DONE

    def _called(self, text: str, said: Said) -> bool:
        """Whether a whole object is a call, which then is said."""
        try:
            value = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
            name = msgspec.json.decode(value[self._syntax.name], type=str)
            arguments = bytes(value.get(self._syntax.arguments, msgspec.Raw(b"{}")))
            if arguments.startswith(b'"'):
                arguments = msgspec.json.decode(arguments, type=str).encode()
        except (msgspec.DecodeError, KeyError):
            return False
        said.call(name)
        said.arguments(arguments.decode())
        self._has_called = True
        return True

    def close(self, tape: Tape, said: Said) -> None:
        """A call whose arguments began was cut; an object that is not whole, or no call, is text."""
        if self._object is not None or self._is_in_tail or self._has_called:
            return
        said.text(self._opener + tape.take(len(tape.text)))


_TOKEN = re.compile(rf"{_STRING}|[{{}}]", re.DOTALL)


def _object_end(text: str) -> int | None:
    """Where the object that a text begins with ends; None where it does not."""
    depth = 0
    for found in _TOKEN.finditer(text):
        if found[0] == "{":
            depth += 1
        elif found[0] == "}":
            depth -= 1
            if not depth:
                return found.end()
    return None
