"""Logs as text or JSON lines: one line per request, and why something failed.

Keys are never logged; content is at the level debug only, where an engine repeated it in an error.
"""

from __future__ import annotations

import logging
import re
import sys
import time
from typing import Literal, TextIO

import msgspec

from dragoman.errors import DragomanError

LOGGER = logging.getLogger("dragoman")

Fields = dict[str, str | int | float]
_HIDDEN: list[str] = []
# What is shorter is no secret, and would hide other words.
_SHORTEST_SECRET = 6
# What a message quotes: from the first quote to the last one of its kind.
_QUOTED = re.compile(r"(?<!\w)(['\"]).*\1", re.DOTALL)
_LONGEST_REASON = 200


def configure(level: str, form: Literal["text", "json"], stream: TextIO | None = None) -> None:
    """Sends the program's log lines, and the HTTP server's errors, to `stream` (stderr)."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    for name, least in (("dragoman", level), ("uvicorn.error", "error")):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(least.upper())
        logger.propagate = False


def hide(secret: str) -> None:
    """From now on no line shows this text, unless it is shorter than any real secret."""
    if len(secret) >= _SHORTEST_SECRET and secret not in _HIDDEN:
        _HIDDEN.append(secret)
        # the longest first: one that holds another must not be left in part
        _HIDDEN.sort(key=len, reverse=True)


def log(level: int, message: str, fields: Fields, failure: BaseException | None = None) -> None:
    """One line: a short message and its fields, with the trace of an unexpected failure."""
    if LOGGER.isEnabledFor(level):
        shown = {
            name: _without_secrets(value) if isinstance(value, str) else value
            for name, value in fields.items()
        }
        LOGGER.log(level, _without_secrets(message), extra={"fields": shown}, exc_info=failure)


def log_error(request_id: str, error: DragomanError) -> None:
    """What an error does not tell the client, under its request's id; nothing where there is nothing."""
    if error.log_detail:
        log(logging.WARNING, error.message, {"id": request_id, "detail": error.log_detail})
    if error.log_content:
        log(logging.DEBUG, "what the engine said", {"id": request_id, "content": error.log_content})


def reason_of(error: DragomanError) -> str:
    """Why a request was refused, for its log line: path and rule, without what the client wrote there."""
    path, colon, rule = error.message.partition(": ")
    if rule.startswith("Input should"):
        # what is quoted before this is what the API allows, and after it what came
        rule = rule.partition(", not ")[0]
    else:
        rule = _QUOTED.sub("'...'", rule).partition(": ")[0]
    return (_QUOTED.sub("'...'", path) + colon + rule)[:_LONGEST_REASON]


def _without_secrets(text: str) -> str:
    for secret in _HIDDEN:
        text = text.replace(secret, "[key]")
    return text


class TextFormatter(logging.Formatter):
    """For people: time, level, message, then `name=value` for each field."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, and the trace where there is one."""
        fields: Fields = getattr(record, "fields", {})
        said = " ".join(f"{name}={_plain(value)}" for name, value in fields.items())
        line = f"{_time_of(record)} {record.levelname.lower()} {record.getMessage()} {said}".rstrip()
        trace = _trace_of(self, record)
        return f"{line}\n{trace}" if trace else line


class JsonFormatter(logging.Formatter):
    """For machines: one JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        entry: dict[str, object] = {
            "time": _time_of(record),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        trace = _trace_of(self, record)
        if trace:
            entry["trace"] = trace
        return msgspec.json.encode(entry).decode()


def _plain(value: str | float) -> str:
    """A value that cannot end a line or pass for another field."""
    text = f"{value:.3f}" if isinstance(value, float) else str(value)
    is_plain = text.isprintable() and not set(text) & {" ", '"', "="} and bool(text)
    return text if is_plain else msgspec.json.encode(text).decode()


def _time_of(record: logging.LogRecord) -> str:
    seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    return f"{seconds}.{int(record.msecs):03d}Z"


def _trace_of(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    return _without_secrets(formatter.formatException(record.exc_info)) if record.exc_info else ""
