"""JSON Schemas in the form that llama.cpp's grammars follow, each of whose values is valid by the original.

llama.cpp turns a schema into a grammar, and of what it cannot say it ignores most in silence: a keyword
beside `$ref` or `anyOf`, the range of a number, a name that is required and not declared. What is written
here is followed to the letter. It may allow less than the original does (no more properties than the declared
ones), and never more; where that cannot be, the keyword is named.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

import jsonschema_rs
import msgspec

from dragoman.engines.gbnf.keywords import (
    BEYOND,
    NESTING,
    NOTES,
    OF_TYPE,
    NotFollowedError,
    Path,
    Schema,
    both,
    rules_of,
    types_of,
)
from dragoman.engines.gbnf.typed import array_rules, integer_rules, object_rules, string_rules

_DEFINITIONS = frozenset({"$defs", "definitions"})
# Deeper than any schema that is written by hand: what comes back to itself without end is stopped here.
MOST_LEVELS = 60
# Each step takes some microseconds; a schema whose references double at each link would take for ever.
_MOST_STEPS = 20_000


def followed_schema(schema: Schema) -> Schema:
    """The schema as llama.cpp follows it; raises `NotFollowedError`."""
    return _Follower(schema).all()


class _Follower:
    """The writer of one schema.

    `_names` are the references met, `_defs` what stands behind them, `_bare` those that are being read with
    no object or array around: one that comes back to itself so says nothing.
    """

    def __init__(self, root: Schema) -> None:
        self._root = root
        self._names: dict[str, str] = {}
        self._defs: dict[str, Schema] = {}
        self._bare: list[str] = []
        self._depth = 0
        self._steps = 0

    def _step(self, path: Path) -> None:
        self._steps += 1
        if self._steps > _MOST_STEPS:
            raise NotFollowedError(path, "$ref")

    def all(self) -> Schema:
        """The whole schema, with definitions of its own."""
        found = self.visit(self._root, ())
        return {**found, "$defs": self._defs} if self._defs else found

    def visit(self, schema: Any, path: Path) -> Schema:
        """One schema of it."""
        if schema is True:
            return {}
        if schema is False:
            raise NotFollowedError(path, "false")
        self._depth += 1
        if self._depth > MOST_LEVELS:
            raise NotFollowedError(path, NESTING if self._is_written(path) else "$ref")
        notes = {key: value for key, value in schema.items() if key in NOTES}
        found = self._rules(schema, path)
        self._depth -= 1
        if "$ref" in found:
            return found
        return {**notes, **found}

    # ---- what any type may have ---------------------------------------------------------------------------

    def _rules(self, schema: Schema, path: Path) -> Schema:
        self._step(path)
        rules = rules_of(schema)
        for keyword in BEYOND:
            if keyword in rules:
                raise NotFollowedError(path, keyword)
        if "$ref" in rules:
            return self._referred(rules, path)
        if "enum" in rules or "const" in rules:
            return self._listed(rules, path)
        if "allOf" in rules:
            return self._all_of(rules, path)
        if "anyOf" in rules or "oneOf" in rules:
            return self._any_of(rules, path)
        return self._of_types(rules, path)

    def _referred(self, rules: Schema, path: Path) -> Schema:
        ref = rules["$ref"]
        beside = {key: value for key, value in rules.items() if key != "$ref"}
        target = self._target(ref, path)
        if beside:
            return self._rules(both(target, beside, path), path)
        if ref in self._bare:
            raise NotFollowedError(path, "$ref")
        if ref not in self._names:
            self._names[ref] = name = f"d{len(self._names)}"
            self._bare.append(ref)
            self._defs[name] = self.visit(target, path)
            self._bare.remove(ref)
        return {"$ref": f"#/$defs/{self._names[ref]}"}

    def _inside(self, schema: Any, path: Path) -> Schema:
        """A schema inside an object or an array: there a reference may come back to what is around it."""
        bare, self._bare = self._bare, []
        found = self.visit(schema, path)
        self._bare = bare
        return found

    def _target(self, ref: str, path: Path) -> Schema:
        """The schema that a reference means."""
        found: Any = self._root
        if ref != "#" and not ref.startswith("#/"):
            raise NotFollowedError(path, "$ref")
        for name in ref[2:].split("/") if ref != "#" else ():
            key = unquote(name).replace("~1", "/").replace("~0", "~")
            try:
                found = found[int(key)] if isinstance(found, list) else found[key]
            except (KeyError, IndexError, ValueError, TypeError):
                raise NotFollowedError(path, "$ref") from None
        if not isinstance(found, dict):
            return {} if found is True else self._refuse(path, "$ref")
        return found

    def _is_written(self, path: Path) -> bool:
        """Whether a path stands in the schema itself, with no reference on the way."""
        found: Any = self._root
        for step in path:
            try:
                found = found[step]
            except (LookupError, TypeError):
                return False
        return True

    def _refuse(self, path: Path, keyword: str) -> Schema:
        raise NotFollowedError(path, keyword)

    def _listed(self, rules: Schema, path: Path) -> Schema:
        """A list of values: those that are valid by all that stands beside it."""
        values = rules["enum"] if "enum" in rules else [rules["const"]]
        # references may stand in what is beside the list, not in a list alone
        is_alone = rules.keys() <= {"enum", "const", "type"}
        whole = {} if is_alone else {key: self._root[key] for key in _DEFINITIONS & self._root.keys()}
        try:
            valid = jsonschema_rs.Draft202012Validator({**whole, **rules}, validate_formats=False).is_valid
        except jsonschema_rs.ValidationError:
            # a reference to what is not here
            raise NotFollowedError(path, "$ref") from None
        found = [value for value in values if valid(value)]
        return {"enum": found} if found else self._refuse(path, "enum" if "enum" in rules else "const")

    def _inlined(self, schema: Any, path: Path) -> Any:
        """A part of a combination, a reference replaced by what it means where more must join it."""
        for _ in range(MOST_LEVELS):
            if not isinstance(schema, dict) or "$ref" not in schema:
                return schema
            beside = {key: value for key, value in schema.items() if key != "$ref"}
            schema = both(self._target(schema["$ref"], path), beside, path)
        raise NotFollowedError(path, "$ref")

    def _all_of(self, rules: Schema, path: Path) -> Schema:
        parts = [part for part in rules["allOf"] if part is not True]
        found = {key: value for key, value in rules.items() if key != "allOf"}
        if not found and len(parts) == 1:
            return self.visit(parts[0], path)
        for number, part in enumerate(parts):
            place = (*path, "allOf", number)
            if part is False:
                raise NotFollowedError(place, "false")
            found = both(found, self._inlined(part, place), place)
        return self._rules(found, path)

    def _any_of(self, rules: Schema, path: Path) -> Schema:
        keyword = "oneOf" if "oneOf" in rules else "anyOf"
        if "oneOf" in rules and "anyOf" in rules:
            raise NotFollowedError(path, keyword)
        beside = {key: value for key, value in rules.items() if key != keyword}
        ways = [way for way in rules[keyword] if way is not False]
        if keyword == "oneOf":
            self._check_apart(ways, path)
        found = []
        for number, way in enumerate(ways):
            place = (*path, keyword, number)
            whole = both(beside, {} if way is True else self._inlined(way, place), place) if beside else way
            found.append(self.visit(whole, place))
        return {"anyOf": found} if found else self._refuse(path, keyword)

    # ---- only one of them ---------------------------------------------------------------------------------

    def _check_apart(self, ways: list[Any], path: Path) -> None:
        """A value must be valid by one way only: no value may be valid by two."""
        for number, first in enumerate(ways):
            for second in ways[number + 1 :]:
                if not self._are_apart(first, second, path):
                    raise NotFollowedError(path, "oneOf")

    def _are_apart(self, first: Any, second: Any, path: Path) -> bool:
        self._step(path)
        one, other = self._inlined(first, path), self._inlined(second, path)
        if not isinstance(one, dict) or not isinstance(other, dict):
            return False
        values, others = _values(one), _values(other)
        if values is not None and others is not None:
            return not set(values) & set(others)
        if _have_no_type_in_common(one, other):
            return True
        named, others_named = one.get("properties", {}), other.get("properties", {})
        required = set(one.get("required", ())) & set(other.get("required", ()))
        return any(
            self._are_apart(named[name], others_named[name], path)
            for name in sorted(required & named.keys() & others_named.keys())
        )

    # ---- what only some types have ------------------------------------------------------------------------

    def _of_types(self, rules: Schema, path: Path) -> Schema:
        types = types_of(rules)
        if types is None:
            return {}
        ways = [self._of_type(kind, rules, path) for kind in types]
        return ways[0] if len(ways) == 1 else {"anyOf": ways}

    def _of_type(self, kind: str, rules: Schema, path: Path) -> Schema:
        keys = OF_TYPE.get("number" if kind == "integer" else kind, ())
        own = {key: rules[key] for key in keys if key in rules}
        if kind == "object":
            return object_rules(own, path, self._inside)
        if kind == "array":
            return array_rules(own, path, self._inside)
        if kind == "string":
            return string_rules(own, path)
        if kind == "integer":
            return integer_rules(own, path)
        if own:
            raise NotFollowedError(path, next(iter(own)))
        return {"type": kind}


def _values(schema: Schema) -> list[bytes] | None:
    """The values that a schema lists, as text."""
    values = schema.get("enum", [schema["const"]] if "const" in schema else None)
    return None if values is None else [msgspec.json.encode(value) for value in values]


def _have_no_type_in_common(one: Schema, other: Schema) -> bool:
    kinds = []
    for schema in (one, other):
        named = schema.get("type")
        if named is None and _values(schema) is None:
            return False
        types = {_type_of(msgspec.json.decode(value)) for value in _values(schema) or ()}
        named = [named] if isinstance(named, str) else named
        kinds.append({"number" if kind == "integer" else kind for kind in named or types})
    return not kinds[0] & kinds[1]


def _type_of(value: object) -> str:
    names = {bool: "boolean", int: "number", float: "number", str: "string", list: "array", dict: "object"}
    return names.get(type(value), "null")
