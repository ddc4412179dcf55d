"""The parrot's file with another chat template in it."""

from __future__ import annotations

import struct
from pathlib import Path

from tests.support.dialogues import PARROT

_KEY = b"tokenizer.chat_template"
_STRING = 8


def parrot_with(template: str, file: Path) -> Path:
    """Writes the model file with this template, which may not be longer than the parrot's own.

    A comment makes it as long: so nothing behind it moves.
    """
    data = (PARROT / "parrot.gguf").read_bytes()
    entry = struct.pack("<Q", len(_KEY)) + _KEY + struct.pack("<I", _STRING)
    assert data.count(entry) == 1
    at = data.index(entry) + len(entry)
    (size,) = struct.unpack_from("<Q", data, at)
    text = template.encode()
    comment = b"{#%s#}" % (b" " * (size - len(text) - len(b"{##}")))
    assert len(text) + len(comment) == size, "the template is too long"
    start = at + 8
    file.write_bytes(data[:start] + text + comment + data[start + size :])
    return file
