"""Calls with a tag for each argument: `<function=find><parameter=query>...</parameter></function>`.

What stands in a tag is no JSON: the tool's schema says whether it is a text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from enum import Enum, auto
from typing import Any

import msgspec

from dragoman.translate.parsers.reader import CallReader, Go, Said
from dragoman.translate.parsers.tape import Tape


class TaggedSyntax(msgspec.Struct, frozen=True, kw_only=True):
    """How such a call is spelled, as patterns and literal ends.

    opener: what begins the calls. function: begins one, with the group `name`. parameter: begins an argument,
    with the group `key`, and `is_text` ("true" or "false") where the model says so. function_end "": the
    closer ends the one call that there is. parameter_tags: of how many tags `parameter` is. newlines: one at
    each end of a value is not part of it.
    """

    opener: str
    closer: str
    function: str
    function_end: str
    parameter: str
    parameter_end: str
    parameter_tags: int = 1
    newlines: bool = False


class _In(Enum):
    CALLS = auto()
    FUNCTION = auto()
    PARAMETER = auto()


class TaggedCalls(CallReader):
    """Reads one call or several; each argument is said when it is whole. `schemas`: by the tools' names."""

    def __init__(self, syntax: TaggedSyntax, schemas: Mapping[str, msgspec.Raw]) -> None:
        self._syntax = syntax
        self._schemas = schemas
        self._function = re.compile(syntax.function)
        self._parameter = re.compile(syntax.parameter)
        self.begin("")

    def begin(self, opener: str) -> None:
        """The section's marker."""
        self._opener = opener
        self._in = _In.CALLS
        self._has_called = False
        self._name = self._key = ""
        self._is_text: bool | None = None
        self._joint = "{"

    def step(self, tape: Tape, said: Said) -> Go:
        """The next tag or value."""
        if self._in is _In.PARAMETER:
            return self._value(tape, said)
        space = len(tape.text) - len(tape.text.lstrip())
        rest = tape.text[space:]
        if self._in is _In.CALLS:
            return self._calls(tape, said, space, rest)
        return self._arguments(tape, said, space, rest)

    def _calls(self, tape: Tape, said: Said, space: int, rest: str) -> Go:
        closer, found = self._syntax.closer, self._function.match(rest)
        if found is not None:
            tape.take(space + found.end())
            self._name, self._joint, self._has_called = found["name"], "{", True
            said.call(self._name)
            self._in = _In.FUNCTION
            return Go.ON
        if closer and rest.startswith(closer):
            tape.take(space + len(closer))
            return self._no_call(said, closer)
        return self._stuck(said, rest)

    def _arguments(self, tape: Tape, said: Said, space: int, rest: str) -> Go:
        end, found = self._syntax.function_end or self._syntax.closer, self._parameter.match(rest)
        if found is not None:
            tape.take(space + found.end())
            groups = found.groupdict()
            self._key, is_text = groups["key"], groups.get("is_text")
            self._is_text = None if is_text is None else is_text == "true"
            self._in = _In.PARAMETER
            return Go.ON
        if rest.startswith(end):
            tape.take(space + len(end))
            said.arguments("{}" if self._joint == "{" else "}")
            self._in = _In.CALLS
            return Go.ON if self._syntax.function_end else Go.DONE
        return self._stuck(said, rest, self._syntax.parameter_tags)

    def _stuck(self, said: Said, rest: str, tags: int = 1) -> Go:
        """Nothing that is known begins here: not all of its tags have come, or it is something else."""
        if rest.count(">") < tags if rest.startswith("<") else "<" not in rest:
            return Go.WAIT
        return self._no_call(said, "")

    def _no_call(self, said: Said, closer: str) -> Go:
        if not self._has_called:
            said.text(self._opener + closer)
        return Go.DONE

    def _value(self, tape: Tape, said: Said) -> Go:
        at = tape.text.find(self._syntax.parameter_end)
        if at < 0:
            return Go.WAIT
        text = tape.take(at)
        tape.take(len(self._syntax.parameter_end))
        if self._syntax.newlines:
            text = text.removeprefix("\n").removesuffix("\n")
        key = msgspec.json.encode(self._key).decode()
        said.arguments(f"{self._joint}{key}: {self._json(text)}")
        self._joint, self._in = ", ", _In.FUNCTION
        return Go.ON

    def _json(self, text: str) -> str:
        """A value's JSON: a text where it must be one, or is nothing else."""
        if not self._is_told_as_text(text):
            with suppress(msgspec.DecodeError):
                msgspec.json.decode(text)
                return text.strip()
        return msgspec.json.encode(text).decode()

    def _is_told_as_text(self, text: str) -> bool:
        """Whether the model, or the tool's schema, says that a value is a text."""
        if self._is_text is not None:
            return self._is_text
        kinds = _kinds(self._schemas.get(self._name), self._key)
        return kinds == {"string"} or ("string" in kinds and not _is_container(text))

    def close(self, tape: Tape, said: Said) -> None:
        """A call that has its name was cut: its arguments are said as far as they came."""
        if self._in is _In.CALLS:
            rest = tape.take(len(tape.text))
            said.text(rest if self._has_called else self._opener + rest)
        elif self._in is _In.PARAMETER:
            # half a marker is part of no value
            text = tape.take(len(tape.text) - tape.begun([self._syntax.parameter_end]))
            if self._syntax.newlines:
                text = text.removeprefix("\n").removesuffix("\n")
            begun = msgspec.json.encode(text).decode()[:-1] if self._is_told_as_text(text) else ""
            said.arguments(f"{self._joint}{msgspec.json.encode(self._key).decode()}: {begun}")
        elif self._joint == "{":
            said.arguments("{")


def _is_container(text: str) -> bool:
    return text.strip()[:1] in {"{", "["}


def _kinds(schema: msgspec.Raw | None, key: str) -> set[str]:
    """The JSON types that a schema lets an argument have; none where it does not tell."""
    if schema is None:
        return set()
    try:
        members = msgspec.json.decode(schema)["properties"][key]
    except (msgspec.DecodeError, KeyError, TypeError):
        return set()
    return _types(members)


def _types(members: Any) -> set[str]:
    if not isinstance(members, dict):
        return set()
    said = members.get("type", [])
    kinds = {said} if isinstance(said, str) else {kind for kind in said if isinstance(kind, str)}
    if not kinds and all(isinstance(value, str) for value in members.get("enum", [0])):
        kinds = {"string"}
    for choice in ("anyOf", "oneOf"):
        for one in members.get(choice, ()):
            kinds |= _types(one)
    return kinds
