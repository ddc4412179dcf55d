"""Objects, arrays, strings and integers in the form that llama.cpp's grammars follow."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from dragoman.engines.gbnf.keywords import NotFollowedError, Path, Schema
from dragoman.engines.gbnf.patterns import followed_pattern

Visit = Callable[[Any, Path], Schema]
# Formats that a grammar of llama.cpp writes.
_WRITTEN_FORMATS = frozenset({"date", "time", "date-time", "uuid"})
# llama.cpp repeats a part so often at the most: more is an error in its grammar, or no bound at all. An array
# of none or more has its first item apart, and room for two less.
_MOST_REPEATED = 2000
MOST_ITEMS_OR_NONE = 1998
# It reads a larger length as none.
LONGEST = 10**9
_LOWEST, _HIGHEST = -(2**53), 2**53


def object_rules(rules: Schema, path: Path, visit: Visit) -> Schema:
    """An object: beside declared properties there are no others, as llama.cpp cannot keep these apart."""
    more = rules.get("additionalProperties", True)
    required: list[str] = rules.get("required", [])
    named = {name: one for name, one in rules.get("properties", {}).items() if one is not False}
    for name in required:
        if name not in named:
            if more is False or name in rules.get("properties", {}):
                raise NotFollowedError(path, "required")
            named[name] = more
    is_open = not named and more is not False and "properties" not in rules
    _check_number_of_properties(rules, required, None if is_open else len(named), path)
    if is_open:
        found: Schema = {"type": "object"}
        return (
            found
            if more is True
            else {**found, "additionalProperties": visit(more, (*path, "additionalProperties"))}
        )
    return {
        "type": "object",
        "properties": {name: visit(one, (*path, "properties", name)) for name, one in named.items()},
        "required": required,
        "additionalProperties": False,
    }


def _check_number_of_properties(rules: Schema, required: list[str], most: int | None, path: Path) -> None:
    if rules.get("minProperties", 0) > len(set(required)):
        raise NotFollowedError(path, "minProperties")
    if "maxProperties" in rules and (most is None or most > rules["maxProperties"]):
        raise NotFollowedError(path, "maxProperties")


def array_rules(rules: Schema, path: Path, visit: Visit) -> Schema:
    """An array of one kind of items, or of the declared ones one after the other."""
    least, most = math.ceil(rules.get("minItems", 0)), rules.get("maxItems")
    most = None if most is None else math.floor(most)
    items = rules.get("items", True)
    if rules.get("prefixItems"):
        return _tuple(rules, least, most, path, visit)
    if items is False:
        items, most = True, 0
    if most is not None and least > most:
        raise NotFollowedError(path, "minItems")
    if rules.get("uniqueItems") and (most is None or most > 1):
        raise NotFollowedError(path, "uniqueItems")
    if most == 0:
        return {"enum": [[]]}
    _check_repetitions(least, most, path)
    found: Schema = {"type": "array", "items": visit(items, (*path, "items")), "minItems": least}
    return found if most is None else {**found, "maxItems": most}


def _check_repetitions(least: int, most: int | None, path: Path) -> None:
    if least > _MOST_REPEATED:
        raise NotFollowedError(path, "minItems")
    if most is not None and most > (_MOST_REPEATED if least else MOST_ITEMS_OR_NONE):
        raise NotFollowedError(path, "maxItems")


def _tuple(rules: Schema, least: int, most: int | None, path: Path, visit: Visit) -> Schema:
    first: list[Any] = rules["prefixItems"]
    first = first[: first.index(False)] if False in first else first
    first = first if most is None else first[:most]
    if least > len(first):
        raise NotFollowedError(path, "minItems")
    if rules.get("uniqueItems") and len(first) > 1:
        raise NotFollowedError(path, "uniqueItems")
    if not first:
        return {"enum": [[]]}
    ways = [visit(one, (*path, "prefixItems", number)) for number, one in enumerate(first)]
    return {"type": "array", "prefixItems": ways}


def string_rules(rules: Schema, path: Path) -> Schema:
    """A string by a pattern, or by its length, or in one of the forms that llama.cpp writes."""
    if "pattern" in rules:
        for key in ("minLength", "maxLength"):
            if key in rules:
                raise NotFollowedError(path, key)
        pattern = followed_pattern(rules["pattern"])
        if pattern is None:
            raise NotFollowedError(path, "pattern")
        return {"type": "string", "pattern": pattern}
    lengths: Schema = {key: int(rules[key]) for key in ("minLength", "maxLength") if key in rules}
    if lengths.get("minLength", 0) > lengths.get("maxLength", _HIGHEST):
        raise NotFollowedError(path, "minLength")
    if lengths.get("minLength", 0) > _MOST_REPEATED:
        raise NotFollowedError(path, "minLength")
    if lengths.get("maxLength", 0) > LONGEST:
        raise NotFollowedError(path, "maxLength")
    if "format" in rules and not (lengths and rules["format"] in _WRITTEN_FORMATS):
        # one that llama.cpp writes would take the place of the length
        return {"type": "string", "format": rules["format"], **lengths}
    return {"type": "string", **lengths}


def integer_rules(rules: Schema, path: Path) -> Schema:
    """An integer, in a range where one is given."""
    if rules.get("multipleOf", 1) != 1:
        raise NotFollowedError(path, "multipleOf")
    lows = [math.ceil(rules["minimum"])] if "minimum" in rules else []
    highs = [math.floor(rules["maximum"])] if "maximum" in rules else []
    if "exclusiveMinimum" in rules:
        lows.append(math.floor(rules["exclusiveMinimum"]) + 1)
    if "exclusiveMaximum" in rules:
        highs.append(math.ceil(rules["exclusiveMaximum"]) - 1)
    found: Schema = {"type": "integer"}
    if lows:
        found["minimum"] = max(lows)
    if highs:
        found["maximum"] = min(highs)
    low, high = found.get("minimum", _LOWEST), found.get("maximum", _HIGHEST)
    if not _LOWEST <= low <= high <= _HIGHEST:
        raise NotFollowedError(path, "minimum" if "minimum" in found else "maximum")
    return found
