"""Reads what a GGUF file says about itself: only its head, not the tensors."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

import msgspec

from dragoman.errors import EngineUnavailableError

MAGIC = b"GGUF"
STRING, ARRAY = 8, 9
# Format of each scalar kind, by its number in the file.
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
# Far above any real head; a damaged length must not make us read for ever.
MOST_BYTES = 1 << 30


class ModelHead(msgspec.Struct, frozen=True, kw_only=True):
    """What is worth knowing before a model is loaded; context_length: what it was trained for, in tokens."""

    architecture: str
    context_length: int | None
    has_chat_template: bool


class _DamagedError(Exception):
    pass


def read_head(path: Path) -> ModelHead:
    """The head of the model file; `EngineUnavailableError` if it is no GGUF file or is cut off."""
    try:
        with path.open("rb") as file:
            values = _read_values(file)
    except OSError as error:
        raise EngineUnavailableError(f"cannot read the model file {path}: {error.strerror}") from error
    except (_DamagedError, struct.error, UnicodeDecodeError) as error:
        raise EngineUnavailableError(f"{path} is not a usable GGUF model file: {error}") from error
    architecture = str(values.get("general.architecture", ""))
    length = values.get(f"{architecture}.context_length")
    return ModelHead(
        architecture=architecture,
        context_length=length if isinstance(length, int) else None,
        has_chat_template="tokenizer.chat_template" in values,
    )


def _read_values(file: BinaryIO) -> dict[str, object]:
    if file.read(4) != MAGIC:
        raise _DamagedError("it does not begin with GGUF")
    version, _, count = _unpack(file, "<IQQ")
    if version not in {2, 3}:
        raise _DamagedError(f"its version is {version}, not 2 or 3")
    return {_string(file): _value(file, _unpack(file, "<I")[0]) for _ in range(count)}


def _unpack(file: BinaryIO, layout: str) -> tuple[int, ...]:
    return struct.unpack(layout, file.read(struct.calcsize(layout)))


def _string(file: BinaryIO) -> str:
    (length,) = _unpack(file, "<Q")
    if length > MOST_BYTES:
        raise _DamagedError("it names a text of absurd length")
    return file.read(length).decode("utf-8", "replace")


def _value(file: BinaryIO, kind: int) -> object:
    """One value; of an array only that it is there."""
    if kind == STRING:
        return _string(file)
    if kind == ARRAY:
        _skip_array(file)
        return None
    if kind not in SCALARS:
        raise _DamagedError(f"it holds a value of the unknown kind {kind}")
    return _unpack(file, "<" + SCALARS[kind])[0]


def _skip_array(file: BinaryIO) -> None:
    kind, count = _unpack(file, "<IQ")
    if count > MOST_BYTES:
        raise _DamagedError("it names an array of absurd length")
    if kind in SCALARS:
        file.seek(count * struct.calcsize(SCALARS[kind]), 1)
        return
    for _ in range(count):
        _value(file, kind)
