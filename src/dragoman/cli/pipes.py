"""What a command reads from programs, and writes for them."""

from __future__ import annotations

import os
import sys
from typing import TextIO

from dragoman.errors import SettingsError


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
        print(f"dragoman: cannot write: {error.strerror}", file=sys.stderr)
        return 2
    return 0


def drop_output() -> None:
    """Lets nothing more be written: who reads has seen enough, and no flush at the end may complain of it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
