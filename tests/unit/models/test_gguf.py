"""The head of a model file."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from dragoman.errors import EngineUnavailableError
from dragoman.models.gguf import read_head

PARROT = Path(__file__).parents[2] / "models" / "parrot" / "parrot.gguf"


def text(value: str) -> bytes:
    """A string as GGUF writes it."""
    return struct.pack("<Q", len(value.encode())) + value.encode()


def gguf(*values: bytes, version: int = 3) -> bytes:
    """A file of these values and no tensors."""
    return b"GGUF" + struct.pack("<IQQ", version, 0, len(values)) + b"".join(values)


def pair(key: str, kind: int, value: bytes) -> bytes:
    """One key with its value."""
    return text(key) + struct.pack("<I", kind) + value


def test_the_parrots_head() -> None:
    head = read_head(PARROT)
    assert (head.architecture, head.context_length, head.has_chat_template) == ("qwen3", 32768, True)


def test_arrays_are_stepped_over(tmp_path: Path) -> None:
    file = tmp_path / "a.gguf"
    file.write_bytes(
        gguf(
            pair("numbers", 9, struct.pack("<IQ", 4, 3) + bytes(12)),
            pair("words", 9, struct.pack("<IQ", 8, 2) + text("ä") + text("b")),
            pair("nested", 9, struct.pack("<IQ", 9, 1) + struct.pack("<IQ", 0, 5) + bytes(5)),
            pair("general.architecture", 8, text("llama")),
            pair("llama.context_length", 4, struct.pack("<I", 2048)),
        )
    )
    head = read_head(file)
    assert (head.architecture, head.context_length, head.has_chat_template) == ("llama", 2048, False)


def test_a_file_that_tells_no_context(tmp_path: Path) -> None:
    file = tmp_path / "a.gguf"
    file.write_bytes(gguf(pair("general.name", 8, text("nobody")), version=2))
    assert read_head(file).context_length is None


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"PK\x03\x04", "does not begin with GGUF"),
        (b"", "does not begin with GGUF"),
        (gguf(version=9), "its version is 9"),
        (gguf(pair("a", 8, text("b")))[:-4], "is not a usable GGUF"),
        (gguf(pair("a", 8, text("b")))[:20], "is not a usable GGUF"),
        (gguf(pair("a", 99, b"")), "unknown kind 99"),
        (gguf(pair("a", 8, struct.pack("<Q", 1 << 60))), "text of absurd length"),
        (gguf(pair("a", 9, struct.pack("<IQ", 8, 1 << 60))), "array of absurd length"),
    ],
)
def test_what_is_no_model_file_is_refused(content: bytes, words: str, tmp_path: Path) -> None:
    file = tmp_path / "a.gguf"
    file.write_bytes(content)
    with pytest.raises(EngineUnavailableError, match=words):
        read_head(file)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailableError, match="cannot read the model file"):
        read_head(tmp_path)
