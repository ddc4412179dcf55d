"""The keywords of JSON Schema, as far as grammars are concerned; what two schemas say together."""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]
Path = tuple[str | int, ...]

TYPES = ("null", "boolean", "integer", "number", "string", "array", "object")
# What a reader of the prompt may want and no value is held to.
NOTES = frozenset({"title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly"})
# Keywords that hold a value to something, by the type that they speak of.
OF_TYPE: dict[str, tuple[str, ...]] = {
    "object": ("properties", "required", "additionalProperties", "minProperties", "maxProperties"),
    "array": ("items", "prefixItems", "minItems", "maxItems", "uniqueItems"),
    "string": ("pattern", "minLength", "maxLength", "format"),
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
}
# Keywords of any type.
FOR_ALL = ("type", "enum", "const", "$ref", "allOf", "anyOf", "oneOf")
# Keywords that no grammar of llama.cpp says.
BEYOND = (
    "not",
    "if",
    "contains",
    "patternProperties",
    "propertyNames",
    "dependentRequired",
    "dependentSchemas",
    "dependencies",
    "unevaluatedProperties",
    "unevaluatedItems",
    "$dynamicRef",
    "$recursiveRef",
)
# What holds a value to something.
RULES = frozenset({*FOR_ALL, *BEYOND, *(key for keys in OF_TYPE.values() for key in keys)})
# Keywords that read others beside them: apart they mean something else.
_COUPLED = (("additionalProperties", "properties"), ("items", "prefixItems"))
_LARGER = frozenset({"minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"})
_SMALLER = frozenset({"maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"})


# Stands in the place of a keyword for a schema that is nested too deep.
NESTING = ""


class NotFollowedError(Exception):
    """A schema holds what no grammar of llama.cpp says: where, and the keyword."""

    def __init__(self, path: Path, keyword: str) -> None:
        super().__init__(keyword)
        self.path = path
        self.keyword = keyword


def types_of(schema: Schema) -> list[str] | None:
    """The types that a schema allows, None for all; where it names none, those that its keywords speak of."""
    named = schema.get("type")
    if named is not None:
        return [named] if isinstance(named, str) else list(named)
    spoken = [kind for kind, keys in OF_TYPE.items() if any(key in schema for key in keys)]
    return spoken or None


def rules_of(schema: Schema) -> Schema:
    """What of a schema holds a value to something."""
    return {key: value for key, value in schema.items() if key in RULES}


def both(first: Schema, second: Schema, path: Path) -> Schema:
    """The schema of what is valid by two schemas; `NotFollowedError` where one cannot say it."""
    for reader, read in _COUPLED:
        for one, other in ((first, second), (second, first)):
            if one.get(reader, True) is not True and read in other and one is not other:
                raise NotFollowedError(path, reader)
    found = dict(first)
    for key, value in second.items():
        if key not in found:
            found[key] = value
        elif found[key] != value:
            found[key] = _joined(key, found[key], value, path)
    return found


def _joined(key: str, first: Any, second: Any, path: Path) -> Any:
    if key in _LARGER:
        return max(first, second)
    if key in _SMALLER:
        return min(first, second)
    if key == "required":
        return list(dict.fromkeys([*first, *second]))
    if key == "allOf":
        return [*first, *second]
    if key == "properties":
        return _properties(first, second)
    if key == "type":
        return _types(first, second, path)
    if key in RULES and key != "format":
        raise NotFollowedError(path, key)
    return first


def _properties(first: Schema, second: Schema) -> Schema:
    found = dict(first)
    for name, schema in second.items():
        found[name] = {"allOf": [found[name], schema]} if name in found else schema
    return found


def _types(first: Any, second: Any, path: Path) -> list[str]:
    wide, narrow = ([kind] if isinstance(kind, str) else list(kind) for kind in (first, second))
    found = [kind for kind in TYPES if _within(kind, wide) and _within(kind, narrow)]
    if not found:
        raise NotFollowedError(path, "type")
    return found


def _within(kind: str, kinds: list[str]) -> bool:
    return kind in kinds or (kind == "integer" and "number" in kinds)
