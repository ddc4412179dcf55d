"""The lines of the log."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from typing import Literal

import msgspec
import pytest

from dragoman.observe import logs


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    names = ("dragoman", "uvicorn.error")
    loggers = [logging.getLogger(name) for name in names]
    kept = [(logger.handlers, logger.level, logger.propagate) for logger in loggers]
    yield
    for logger, (handlers, level, propagate) in zip(loggers, kept, strict=True):
        logger.handlers, logger.propagate = handlers, propagate
        logger.setLevel(level)


def written(form: Literal["text", "json"], failure: BaseException | None = None) -> str:
    """One line in a form."""
    stream = io.StringIO()
    logs.configure("info", form, stream)
    logs.log(logging.INFO, "request", {"id": "req_1", "path": "/a b\n", "seconds": 0.25, "who": ""}, failure)
    return stream.getvalue()


def test_a_text_line_is_one_line() -> None:
    line = written("text")
    assert line.endswith('info request id=req_1 path="/a b\\n" seconds=0.250 who=""\n')
    assert line.count("\n") == 1
    assert line[4] == "-"
    assert "T" in line
    assert "Z info" in line


def test_a_json_line_is_one_object() -> None:
    entry = msgspec.json.decode(written("json"))
    assert entry.pop("time").endswith("Z")
    assert entry == {
        "level": "info",
        "message": "request",
        "id": "req_1",
        "path": "/a b\n",
        "seconds": 0.25,
        "who": "",
    }


@pytest.mark.parametrize("form", ["text", "json"])
def test_an_unexpected_failure_has_its_trace(form: Literal["text", "json"]) -> None:
    assert "ZeroDivisionError" in written(form, ZeroDivisionError("no"))


def test_the_level_is_kept_and_the_servers_chatter_is_not() -> None:
    stream = io.StringIO()
    logs.configure("warning", "text", stream)
    logs.log(logging.INFO, "quiet", {})
    logging.getLogger("uvicorn.error").warning("chatter")
    logging.getLogger("uvicorn.error").error("trouble")
    assert stream.getvalue().split()[1:] == ["error", "trouble"]
