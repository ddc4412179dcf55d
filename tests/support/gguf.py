"""GGUF, the file that llama.cpp reads a model from: what is said of it, and tensors of 32-bit floats.

The format is described in llama.cpp's `gguf-py`; version 3, little-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from math import prod
from pathlib import Path

Value = str | bool | int | float | Sequence[str] | Sequence[int] | Sequence[float]
Shape = tuple[int, ...]
"""A tensor's shape, the fastest index first."""

_MAGIC = b"GGUF"
_VERSION = 3
_ALIGNED = 32
_F32 = 0
_UINT32, _INT32, _FLOAT32, _BOOL, _STRING, _ARRAY = 4, 5, 6, 7, 8, 9
_FORMATS = {
    0: "B",
    1: "b",
    2: "H",
    3: "h",
    _UINT32: "I",
    _INT32: "i",
    _FLOAT32: "f",
    _BOOL: "?",
    10: "Q",
    11: "q",
    12: "d",
}


def write_gguf(
    path: Path, meta: Mapping[str, Value], shapes: Mapping[str, Shape], body: Callable[[Shape], bytes] | None
) -> None:
    """Writes a model; body: makes a tensor's bytes of its shape, None: all zero, and the file has a hole."""
    head = b"".join(_text(name) + _value(value) for name, value in meta.items())
    size = 0
    for name, shape in shapes.items():
        head += _text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, _F32, size)
        size += 4 * prod(shape) + -4 * prod(shape) % _ALIGNED
    start = _MAGIC + struct.pack("<IQQ", _VERSION, len(shapes), len(meta)) + head
    with path.open("wb") as file:
        file.write(start + bytes(-len(start) % _ALIGNED))
        if body is None:
            file.truncate(file.tell() + size)
            return
        for shape in shapes.values():
            data = body(shape)
            file.write(data + bytes(-len(data) % _ALIGNED))


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _value(value: Value) -> bytes:
    """A value behind the number of its type."""
    if isinstance(value, bool):
        return struct.pack("<I?", _BOOL, value)
    if isinstance(value, int):
        return struct.pack("<II", _UINT32, value)
    if isinstance(value, float):
        return struct.pack("<If", _FLOAT32, value)
    if isinstance(value, str):
        return struct.pack("<I", _STRING) + _text(value)
    return struct.pack("<I", _ARRAY) + _items(value)


def _items(values: Sequence[str] | Sequence[int] | Sequence[float]) -> bytes:
    """A list of values behind their type and number."""
    kind = {str: _STRING, int: _INT32, float: _FLOAT32}[type(values[0])]
    head = struct.pack("<IQ", kind, len(values))
    if kind == _STRING:
        return head + b"".join(_text(str(value)) for value in values)
    return head + struct.pack(f"<{len(values)}{_FORMATS[kind]}", *values)


class _Reader:
    """Reads values off a file's bytes, one behind the other."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = len(_MAGIC)

    def number(self, form: str) -> int:
        """The next number, in a format of `struct`."""
        (number,) = struct.unpack_from(f"<{form}", self._data, self._at)
        self._at += struct.calcsize(form)
        read: int = number
        return read

    def text(self) -> str:
        """The next text."""
        size = self.number("Q")
        self._at += size
        return self._data[self._at - size : self._at].decode()

    def value(self, kind: int) -> Value:
        """The next value, of the type with this number."""
        if kind == _STRING:
            return self.text()
        if kind != _ARRAY:
            return self.number(_FORMATS[kind])
        kind, size = self.number("I"), self.number("Q")
        if kind == _STRING:
            return [self.text() for _ in range(size)]
        form = f"<{size}{_FORMATS[kind]}"
        values = struct.unpack_from(form, self._data, self._at)
        self._at += struct.calcsize(form)
        return list(values)


def read_meta(path: Path) -> dict[str, Value]:
    """What a file says of its model."""
    data = path.read_bytes()
    if data[: len(_MAGIC)] != _MAGIC:
        raise ValueError(f"{path} is no GGUF file")
    reader = _Reader(data)
    reader.number("I")
    reader.number("Q")
    return {reader.text(): reader.value(reader.number("I")) for _ in range(reader.number("Q"))}
