"""The shape of the structs as a table: which keys they know and which values they allow."""

from __future__ import annotations

from functools import cache
from typing import Any

from msgspec import inspect

Step = str | int


@cache
def shape_of(kind: type) -> inspect.Type:
    """The description of a struct type, made once."""
    return inspect.type_info(kind)


def unknown_paths(kind: type, value: Any) -> list[str]:
    """Paths (`messages.0.content.1.foo`) of the keys in a JSON value that the struct does not list."""
    found: list[str] = []
    _walk(shape_of(kind), value, (), found)
    return found


def _walk(node: inspect.Type, value: Any, path: tuple[Step, ...], found: list[str]) -> None:
    if isinstance(value, dict):
        struct = _struct_for(node, value)
        if struct is None:
            return
        types = {field.encode_name: field.type for field in struct.fields}
        for key, item in value.items():
            if key in types:
                _walk(types[key], item, (*path, key), found)
            elif key != struct.tag_field:
                found.append(spell((*path, key)))
    elif isinstance(value, list):
        for member in members(node):
            if isinstance(member, inspect.ListType):
                for index, item in enumerate(value):
                    _walk(member.item_type, item, (*path, index), found)


def _struct_for(node: inspect.Type, value: dict[str, Any]) -> inspect.StructType | None:
    for member in members(node):
        if isinstance(member, inspect.StructType) and (
            member.tag_field is None or value.get(member.tag_field) == member.tag
        ):
            return member
    return None


def allowed_values(kind: type, path: tuple[Step, ...], value: object = None) -> list[object]:
    """The values that the literals and tags at a path allow, [] where it is free.

    The JSON `value` of the whole, where there is one, tells structs of a union apart by their tags.
    """
    nodes = [shape_of(kind)]
    for step in path:
        nodes = [
            child for node in nodes for member in _meant(node, value) for child in _children(member, step)
        ]
        value = _step_into(value, step)
    values = [value for node in nodes for member in members(node) for value in _values(member)]
    return list(dict.fromkeys(values))


def _meant(node: inspect.Type, value: object) -> list[inspect.Type]:
    """The members of a union that a value's tag chooses; all of them where it chooses none."""
    found = _struct_for(node, value) if isinstance(value, dict) else None
    return list(members(node)) if found is None else [found]


def _step_into(value: object, step: Step) -> object:
    if isinstance(value, dict):
        return value.get(step)
    return value[step] if isinstance(value, list) and isinstance(step, int) else None


def members(node: inspect.Type) -> tuple[inspect.Type, ...]:
    """The members of a union, or the one type."""
    return node.types if isinstance(node, inspect.UnionType) else (node,)


def _children(node: inspect.Type, step: Step) -> list[inspect.Type]:
    if isinstance(node, inspect.ListType) and isinstance(step, int):
        return [node.item_type]
    if not isinstance(node, inspect.StructType):
        return []
    if step == node.tag_field:
        return [inspect.LiteralType((node.tag,))]
    return [field.type for field in node.fields if field.encode_name == step]


def _values(node: inspect.Type) -> tuple[object, ...]:
    return node.values if isinstance(node, inspect.LiteralType) else ()


def spell(path: tuple[Step, ...]) -> str:
    """A path as the API spells it."""
    return ".".join(map(str, path))
