"""The program of a worker process: documents come in on standard input, pages go out on standard output.

A document may be made to harm what reads it. Here it can cost one process some seconds and bounded memory.
Each message is four bytes of length and MessagePack. The process ends with its input, so never outlives its
parent by more than one document.
"""

from __future__ import annotations

import importlib
import logging
import os
import resource
import struct
import sys
from contextlib import suppress
from typing import BinaryIO

import msgspec

from dragoman.content.pages import MODULES, Job, Page, read_pages
from dragoman.content.refusal import ContentError

LENGTH = struct.Struct(">I")
OUT_OF_MEMORY = 70
# Address space, most of which libraries only reserve.
MEMORY = 2 * 1024**3
# The parent ends a worker by the clock; this ends one that lost its parent.
_GRACE = 5


class Pages(msgspec.Struct, frozen=True, tag="pages"):
    """A document that was read."""

    pages: list[Page]


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """A document that was not, and why."""

    reason: str


Outcome = Pages | Refused


def main() -> None:
    """Says that it is ready with an empty message, then answers each job."""
    source, sink = sys.stdin.buffer, os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    # what a library prints must not get between the messages
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    logging.disable(logging.CRITICAL)
    for name in MODULES:
        importlib.import_module(name)
    limit(resource.RLIMIT_CORE, 0)
    limit(resource.RLIMIT_AS, MEMORY)
    _send(sink, b"")
    while head := source.read(LENGTH.size):
        data = source.read(*LENGTH.unpack(head))
        try:
            job = msgspec.msgpack.decode(data, type=Job)
            used = resource.getrusage(resource.RUSAGE_SELF)
            limit(resource.RLIMIT_CPU, int(used.ru_utime + used.ru_stime + job.seconds) + _GRACE)
            answer = msgspec.msgpack.encode(outcome_of(job))
        except MemoryError:
            sys.exit(OUT_OF_MEMORY)
        _send(sink, answer)


def outcome_of(job: Job) -> Outcome:
    """What became of a document."""
    try:
        return Pages(read_pages(job))
    except ContentError as error:
        return Refused(error.message)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - the readers meet broken documents with every kind of error
        return Refused("it is broken, or no PDF")


def limit(kind: int, value: int) -> None:
    """Lowers what this process may use, where the system has such a limit."""
    _, most = resource.getrlimit(kind)
    with suppress(ValueError, OSError):
        resource.setrlimit(kind, (value if most == resource.RLIM_INFINITY else min(value, most), most))


def _send(sink: BinaryIO, data: bytes) -> None:
    sink.write(LENGTH.pack(len(data)) + data)
    sink.flush()


if __name__ == "__main__":
    main()
