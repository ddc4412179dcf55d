"""Errors, one of each class, with the exact text of their answer and of the event that ends a stream.

`make golden` writes the files anew: read the difference before you commit it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dragoman import errors
from dragoman.errors import DragomanError
from dragoman.server.envelope import error_headers
from dragoman.wire.anthropic.errors import encode_error, encode_error_event
from tests.golden.test_answer_golden import compare

HERE = Path(__file__).parent / "errors"
REQUEST_ID = "req_golden"
# Errors that end the program before it serves anything.
BEFORE_SERVING = {"SettingsError", "EngineUnavailableError"}


def subclasses(kind: type[DragomanError]) -> Iterator[type[DragomanError]]:
    """The classes below a class, as the module of errors has them."""
    for below in kind.__subclasses__():
        if below.__module__ == errors.__name__:
            yield below
            yield from subclasses(below)


CLASSES = {kind.__name__: kind for kind in subclasses(DragomanError) if kind.__name__ not in BEFORE_SERVING}
SPECIAL: dict[str, DragomanError] = {
    "PromptTooLongError": errors.PromptTooLongError(4097, 4096),
    "ThreadUnsupportedError": errors.ThreadUnsupportedError(
        "thread: not here", details={"unsupported": ["thread"]}
    ),
    "ThreadAlreadyContinuedError": errors.ThreadAlreadyContinuedError("msg_1"),
    "ThreadContinueInFlightError": errors.ThreadContinueInFlightError("msg_1"),
    "ThreadFingerprintMismatchError": errors.ThreadFingerprintMismatchError(["system", "tools"]),
    "ThreadNotFoundError": errors.ThreadNotFoundError("msg_1"),
    "RateLimitError": errors.RateLimitError("busy", retry_after=1.5),
    "OverloadedError": errors.OverloadedError("full", retry_after=30),
}


def error_of(name: str) -> DragomanError:
    """An error of a class; what goes to the log must not leave."""
    return SPECIAL.get(name) or CLASSES[name]("what went wrong", log_detail="SECRET", log_content="SECRET")


def answered(error: DragomanError) -> str:
    """The answer that an error is: status, headers of its own, body."""
    headers = [f"{name.decode()}: {value.decode()}" for name, value in error_headers(error)]
    return "\n".join([f"HTTP {error.status}", *headers, "", encode_error(error, REQUEST_ID).decode(), ""])


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_error(name: str, update_golden: bool) -> None:
    HERE.mkdir(exist_ok=True)
    error = error_of(name)
    compare(answered(error), HERE / f"{name}.http", update_golden)
    compare(encode_error_event(error, REQUEST_ID).decode(), HERE / f"{name}.sse", update_golden)


def test_every_golden_file_belongs_to_a_class() -> None:
    assert {path.stem for path in HERE.iterdir()} == set(CLASSES)
