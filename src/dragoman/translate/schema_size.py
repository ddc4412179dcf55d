"""How large a schema is with its references followed: so long takes a check of an answer."""

from __future__ import annotations

import re
from typing import Any

# Members that hold no schemas, or such that only references mean; and those that hold schemas by name.
_NO_SCHEMAS = frozenset({"const", "enum", "default", "example", "examples", "$defs", "definitions"})
_BY_NAME = frozenset({"properties", "patternProperties", "dependentSchemas", "dependencies"})
_REFERENCES = frozenset({"$ref", "$dynamicRef"})
_ESCAPED = re.compile(r"(?:%[0-9A-Fa-f]{2})+")


class UnknownReferenceError(Exception):
    """A reference that names no place of its schema."""


def followed_size(schema: Any) -> int:
    """The number of schemas in a schema, one as often as references lead to it.

    One that leads back to itself counts once, as it is checked once. Takes a moment for each that is written
    down, however large the number is. Raises `UnknownReferenceError`.
    """
    return _Sizes(schema).of(schema, schema)


class _Sizes:
    def __init__(self, schema: Any) -> None:
        self._found: dict[int, int] = {}
        self._names: dict[str, Any] = {}
        self._collect(schema)

    def _collect(self, value: Any) -> None:
        """Notes what is named by something else than its path."""
        if isinstance(value, dict):
            for key, prefix in (("$anchor", "#"), ("$dynamicAnchor", "#"), ("$id", "")):
                if isinstance(value.get(key), str):
                    self._names[prefix + value[key]] = value
            value = list(value.values())
        for one in value if isinstance(value, list) else ():
            self._collect(one)

    def of(self, schema: Any, root: Any) -> int:
        """The size of one schema of it; `root` is what its references begin at."""
        if not isinstance(schema, dict):
            return 1
        found = self._found.get(id(schema))
        if found is None:
            self._found[id(schema)] = 1  # for what leads back here
            inner = schema if "$id" in schema else root
            found = 1
            # a loop, as a generator would be one more frame at each level of a deep schema
            for key, value in schema.items():
                found += self._member(key, value, inner)
            self._found[id(schema)] = found
        return found

    def _member(self, key: str, value: Any, root: Any) -> int:
        if key in _REFERENCES:
            return self.of(self._target(str(value), root), root)
        if key in _NO_SCHEMAS:
            return 0
        if isinstance(value, dict) and key not in _BY_NAME:
            return self.of(value, root)
        found = 0
        for one in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            found += self.of(one, root)
        return found

    def _target(self, reference: str, root: Any) -> Any:
        if reference in self._names:
            return self._names[reference]
        found = root
        if reference not in {"#", ""} and not reference.startswith("#/"):
            raise UnknownReferenceError
        for name in reference.split("/")[1:]:
            key = _plain(name)
            try:
                found = found[int(key)] if isinstance(found, list) else found[key]
            except (LookupError, ValueError, TypeError):
                raise UnknownReferenceError from None
        return found


def _plain(name: str) -> str:
    """A step of a reference without its escapes."""
    decoded = _ESCAPED.sub(
        lambda found: bytes.fromhex(found[0].replace("%", "")).decode("utf-8", "replace"), name
    )
    return decoded.replace("~1", "/").replace("~0", "~")
