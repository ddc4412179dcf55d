"""What a command reads from programs, and writes for them."""

from __future__ import annotations

import io
import os
import sys
from typing import TextIO

from dragoman.errors import SettingsError


class OutputError(Exception):
    """Nothing can be written; the text says why in a line."""

    def __init__(self, error: OSError) -> None:
        super().__init__(f"cannot write: {error.strerror}")


def standard_input() -> bytes:
    """All of it; `SettingsError` where the command was started without any."""
    stdin: TextIO | None = sys.stdin
    if stdin is None:
        raise SettingsError("there is no standard input to read")
    return stdin.buffer.read()


def write_out(text: bytes) -> int:
    """Writes UTF-8 whatever the terminal's encoding is, since that is what JSON is in; the exit status."""
    rest = memoryview(text)
    try:
        while rest:
            # with PYTHONUNBUFFERED a pipe takes only as much as it has room for
            rest = rest[sys.stdout.buffer.write(rest) :]
        sys.stdout.flush()
    except BrokenPipeError:
        drop_output()
        return 1
    except OSError as error:
        drop_output()
        print(f"dragoman: {OutputError(error)}", file=sys.stderr)
        return 2
    return 0


def print_out(text: str) -> int:
    """Writes a text for people, in the terminal's encoding; the exit status."""
    return write_out(text.encode(sys.stdout.encoding, "replace"))


def forgive_letters() -> None:
    """Lets a letter that standard output's encoding lacks become a question mark, and no trace."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def drop_output() -> None:
    """Lets nothing more be written: who reads has seen enough, and no flush at the end may complain of it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
