"""Checks on JSON that is passed on as the bytes that came."""

from __future__ import annotations

from msgspec import Raw

from dragoman.errors import InvalidRequestError


def object_text(raw: Raw, path: object, member: str = "") -> str:
    """The text of a raw value that must be a JSON object; refuses anything else, naming its path.

    The path is that of its owner and the member behind it, put together only where it is named.
    """
    text = raw_text(raw, path, member)
    if not text.startswith("{"):
        raise InvalidRequestError(f"{path}{member}: Input should be an object")
    return text


def raw_text(raw: Raw, path: object, member: str = "") -> str:
    """The text of a raw value; its strings were not decoded yet, so bad UTF-8 shows here."""
    try:
        return bytes(raw).decode()
    except UnicodeDecodeError:
        raise InvalidRequestError(f"{path}{member}: Input should be valid UTF-8") from None
