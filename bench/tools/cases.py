"""The prompts, and what counts as a right answer to one: pure, without an engine."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # the package holds no types
import msgspec

PROMPTS = Path(__file__).with_name("prompts.json")


class Check(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one argument must be: a value, or text that holds a pattern; optional ones may be absent."""

    equals: Any = msgspec.UNSET
    matches: str = ""
    optional: bool = False

    def holds(self, arguments: dict[str, Any], name: str) -> bool:
        """Whether the argument of that name is right."""
        if name not in arguments:
            return self.optional
        value = arguments[name]
        if self.equals is not msgspec.UNSET:
            # a bool is a number in Python, never in JSON
            return bool(value == self.equals and isinstance(value, bool) == isinstance(self.equals, bool))
        return isinstance(value, str) and re.search(self.matches, value) is not None


class Prompt(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A prompt: the tool that it needs ("": none) with its arguments, and what the tool then says.

    example: a right call, for a second turn where the model made none. answer: what the words about the
    result should hold.
    """

    name: str
    text: str
    tool: str = ""
    arguments: dict[str, Check] = {}
    example: dict[str, Any] = {}
    result: str = ""
    answer: str = ""


class Tool(msgspec.Struct, frozen=True):
    """A tool as the Messages API takes it."""

    name: str
    description: str
    input_schema: dict[str, Any]

    def takes(self, arguments: Any) -> bool:
        """Whether the arguments are valid by the schema."""
        return bool(jsonschema.Draft202012Validator(self.input_schema).is_valid(arguments))


class CaseSet(msgspec.Struct, frozen=True):
    """A set of prompts over some tools."""

    tools: tuple[Tool, ...]
    prompts: tuple[Prompt, ...]

    def tool(self, name: str) -> Tool | None:
        """The tool of that name, None where the model made the name up."""
        return next((tool for tool in self.tools if tool.name == name), None)


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """What an answer holds: its text, and the calls with their arguments."""

    text: str = ""
    calls: tuple[tuple[str, Any], ...] = ()
    stop_reason: str | None = None


def load(file: Path = PROMPTS) -> CaseSet:
    """The set in a file."""
    return msgspec.json.decode(file.read_bytes(), type=CaseSet)


def is_valid(cases: CaseSet, said: Said) -> bool:
    """Whether there is a call, and every call is of a known tool and valid by its schema."""
    found = [(cases.tool(name), arguments) for name, arguments in said.calls]
    return bool(found) and all(tool is not None and tool.takes(arguments) for tool, arguments in found)


def first_turn_right(cases: CaseSet, prompt: Prompt, said: Said) -> bool:
    """The tool that is needed, once, with right arguments; where none is needed, words and no call."""
    if not prompt.tool:
        return not said.calls and bool(said.text.strip()) and not _looks_like_a_call(cases, said.text)
    if len(said.calls) != 1 or not is_valid(cases, said):
        return False
    name, arguments = said.calls[0]
    return name == prompt.tool and all(check.holds(arguments, key) for key, check in prompt.arguments.items())


def forced_right(cases: CaseSet, said: Said, name: str = "") -> bool:
    """A forced call: valid by its schema, and of the tool that was named."""
    return is_valid(cases, said) and (not name or all(called == name for called, _ in said.calls))


def second_turn_right(cases: CaseSet, said: Said) -> bool:
    """After the result, words: no call, and no text that is one."""
    return not said.calls and bool(said.text.strip()) and not _looks_like_a_call(cases, said.text)


def _looks_like_a_call(cases: CaseSet, text: str) -> bool:
    """Whether a call was written out as text, which a client cannot run."""
    return '"arguments"' in text and any(f'"{tool.name}"' in text for tool in cases.tools)
