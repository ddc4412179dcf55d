"""What is wrong with a body, in words that begin with the path of the field as the API spells it."""

from __future__ import annotations

import re

import msgspec

from dragoman.wire.anthropic.shape import Step, allowed_values, spell
from dragoman.wire.nesting import beyond, shown

# The decoder's names of types, in words.
_NAMES = {
    "str": "a string",
    "int": "an integer",
    "float": "a number",
    "bool": "true or false",
    "array": "an array",
    "object": "an object",
    "null": "null",
}
_GOT_NAMES = _NAMES | {"float": "a float", "bool": "a boolean"}
_UNITS = {"str": "character", "array": "item"}
_LONGEST_VALUE = 80
# What every decoder takes; some take more.
_LEVELS = 500
_STEP = re.compile(r"\.(\w+)|\[(\d+)\]")
_TYPES = re.compile(r"Expected `([^`]+)`(?:, got `(\w+)`)?$")
_LENGTH = re.compile(r"Expected `(\w+)` of length (>=|<=) (\d+)$")
_RANGE = re.compile(r"Expected `\w+` (>=|<=) (-?\d+)(?:\.0)?$")
_MISSING = re.compile(r"Object missing required field `(\w+)`$")
_VALUE = re.compile(r"Invalid (?:enum )?value (.*)$", re.DOTALL)


def explain(error: Exception, kind: type, body: bytes | bytearray) -> str:
    """One sentence about what the decoder refused; `kind` is the struct that the body should have been."""
    if isinstance(error, RecursionError):
        return _about_levels(body)
    if isinstance(error, UnicodeDecodeError):
        return "The request body is not valid UTF-8."
    if not isinstance(error, msgspec.ValidationError):
        return _about_syntax(str(error), empty=not body)
    words, _, place = str(error).rpartition(" - at `")
    if not words:
        return _about_field(str(error), (), kind, body)
    path = tuple(name or int(index) for name, index in _STEP.findall(place))
    return _about_field(words, path, kind, body)


def _about_levels(body: bytes | bytearray) -> str:
    place = beyond(body, _LEVELS)
    if place is None:
        return "The request body is nested too deeply."
    return f"{shown(place)}: Input should not be nested deeper than {_LEVELS} levels"


def _about_syntax(words: str, *, empty: bool) -> str:
    if empty:
        return "The request body is empty; it must be a JSON object."
    if words == "Input data was truncated":
        words = "it ends too early"
    return f"The request body is not valid JSON: {words.removeprefix('JSON is malformed: ')}."


def _about_field(words: str, path: tuple[Step, ...], kind: type, body: bytes | bytearray) -> str:
    missing = _MISSING.match(words)
    if missing:
        return f"{spell((*path, missing[1]))}: Field required"
    return f"{spell(path) or 'The request body'}: {_reason(words, path, kind, body)}"


def _reason(words: str, path: tuple[Step, ...], kind: type, body: bytes | bytearray) -> str:
    if types := _TYPES.match(words):
        wanted = [name for name in types[1].split(" | ") if name != "null"]
        got = f", not {_GOT_NAMES[types[2]]}" if types[2] else ""
        return f"Input should be {_join([_NAMES[name] for name in wanted])}{got}"
    if length := _LENGTH.match(words):
        bound = "at least" if length[2] == ">=" else "at most"
        return f"Input should have {bound} {length[3]} {_UNITS[length[1]]}{'' if length[3] == '1' else 's'}"
    if bounds := _RANGE.match(words):
        bound = "greater" if bounds[1] == ">=" else "less"
        return f"Input should be {bound} than or equal to {bounds[2]}"
    if value := _VALUE.match(words):
        allowed = [repr(item) for item in allowed_values(kind, path, _decoded(body))]
        return f"Input should be {_join(allowed)}, not {_short(value[1])}"
    return "Input is out of range" if words.endswith("out of range") else "Input is not valid"


def _decoded(body: bytes | bytearray) -> object:
    """The body's value; None where the text behind what was refused is no JSON."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return None


def _join(words: list[str]) -> str:
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _short(value: str) -> str:
    return value if len(value) <= _LONGEST_VALUE else f"{value[:_LONGEST_VALUE]}..."
