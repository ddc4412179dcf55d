"""What a command writes for programs to read."""

from __future__ import annotations

import os
import sys


def write_out(text: bytes) -> int:
    """Writes UTF-8 whatever the terminal's encoding is, since that is what JSON is in; the exit status."""
    rest = memoryview(text)
    try:
        while rest:
            # with PYTHONUNBUFFERED a pipe takes only as much as it has room for
            rest = rest[sys.stdout.buffer.write(rest) :]
        sys.stdout.flush()
    except BrokenPipeError:
        # who reads has seen enough; nor may the interpreter complain when it flushes at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        print(f"dragoman: cannot write: {error.strerror}", file=sys.stderr)
        return 2
    return 0
