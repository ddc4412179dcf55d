"""multipart/form-data, read piece by piece."""

from __future__ import annotations

import re
from email.message import Message
from typing import Any

import msgspec
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from dragoman.errors import InvalidRequestError, UnsupportedMediaTypeError

# What RFC 5987 asks a reader to know; other names of charsets are no reason to try all that Python has.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_CHARSETS = frozenset({"utf-8", "iso-8859-1", "us-ascii"})
# More of these in one part is no form that a client sends.
_MAX_HEADERS = 16
_MAX_HEADER_BYTES = 8192


class PartBegin(msgspec.Struct, frozen=True, kw_only=True):
    """The head of a part; `filename` is None where it holds no file."""

    name: str
    filename: str | None
    content_type: str


class PartEnd(msgspec.Struct, frozen=True):
    """The end of a part."""


FormEvent = PartBegin | bytes | PartEnd


def boundary_of(content_type: str) -> str:
    """What stands between the parts, from the body's declared type."""
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data":
        raise UnsupportedMediaTypeError("content-type: must be multipart/form-data")
    boundary = options.get(b"boundary", b"").decode("latin-1")
    if not 1 <= len(boundary) <= 70:
        raise InvalidRequestError("content-type: multipart/form-data needs a boundary of 1 to 70 characters")
    return boundary


class FormReader:
    """Turns the pieces of a body into events; `InvalidRequestError` where it is no form."""

    def __init__(self, boundary: str) -> None:
        self._events: list[FormEvent] = []
        self._headers: dict[str, str] = {}
        self._name = bytearray()
        self._value = bytearray()
        self._has_ended = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._headers.clear,
                "on_header_field": self._header_name,
                "on_header_value": self._header_value,
                "on_header_end": self._header_end,
                "on_headers_finished": self._part_begin,
                "on_part_data": self._part_data,
                "on_part_end": self._part_end,
                "on_end": self._end,
            },
            max_header_count=_MAX_HEADERS,
            max_header_size=_MAX_HEADER_BYTES,
        )

    def feed(self, piece: bytes) -> list[FormEvent]:
        """What a piece of the body brings."""
        try:
            self._parser.write(piece)
        except FormParserError as error:
            raise _malformed() from error
        events, self._events = self._events, []
        return events

    def close(self) -> None:
        """The body is over; so must the form be."""
        if not self._has_ended:
            raise InvalidRequestError("The request body is not a whole form: its last boundary is missing.")

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        self._headers[self._name.decode("latin-1").lower()] = self._value.decode("latin-1")
        self._name, self._value = bytearray(), bytearray()

    def _part_begin(self) -> None:
        disposition = self._headers.get("content-disposition", "")
        kind, options = parse_options_header(disposition)
        if kind != b"form-data" or b"name" not in options:
            raise _malformed()
        name, filename = _text(options[b"name"]), options.get(b"filename")
        self._events.append(
            PartBegin(
                name=name,
                filename=_extended(disposition, name, None if filename is None else _text(filename)),
                content_type=self._headers.get("content-type", ""),
            )
        )

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        self._events.append(data[start:end])

    def _part_end(self) -> None:
        self._events.append(PartEnd())

    def _end(self) -> None:
        self._has_ended = True


def _extended(disposition: str, name: str, filename: str | None) -> str | None:
    """The file's name; one that is written as in RFC 2231 (`filename*=`, in parts or not) comes first.

    RFC 7578 wants no such names in forms, but there are clients that write them, some of them nothing else.
    """
    if "*" not in disposition:
        return filename
    head = Message()
    head["content-disposition"] = disposition
    try:
        # an error there: a part of a name that is numbered beyond any integer, or beside the whole name
        options: list[tuple[str, Any]] = head.get_params([], "content-disposition")
    except (ValueError, TypeError):
        raise _malformed() from None
    # an extended value is a triple with its charset, and comes behind the others
    *_, found = (None, *(value for key, value in options if key.lower() == "filename"))
    if found is None:
        return filename
    if isinstance(found, str):
        return filename if filename is not None else _text(found.encode("latin-1"))
    decoded = _decoded(*found)
    if decoded is None and filename is None:
        raise InvalidRequestError(
            f"{name[:100]}: its filename* cannot be read: it should be UTF-8, as in RFC 5987"
        )
    return filename if decoded is None else decoded


def _decoded(charset: str | None, _language: str | None, text: str) -> str | None:
    """The text of an extended value; None where it cannot be read."""
    if (charset or "us-ascii").lower() not in _CHARSETS:
        return None
    try:
        found = text.encode("latin-1").decode(charset or "us-ascii")
    except UnicodeError:
        return None
    return None if _CONTROL.search(found) else found


def _text(name: bytes) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError:
        raise InvalidRequestError("The names in the form are not valid UTF-8.") from None


def _malformed() -> InvalidRequestError:
    return InvalidRequestError("The request body is not valid multipart/form-data.")
