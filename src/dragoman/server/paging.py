"""The questions of lists: how many, and from where on."""

from __future__ import annotations

from urllib.parse import parse_qsl

from dragoman.errors import InvalidRequestError
from dragoman.server.exchange import Exchange

_DEFAULT_LIMIT = 20
_MAX_LIMIT = 1000


def query_items(exchange: Exchange) -> list[tuple[str, str]]:
    """The query's pairs, as they came."""
    return parse_qsl(exchange.scope["query_string"].decode("latin-1"))


def query_of(exchange: Exchange) -> dict[str, str]:
    """The query; the last of several values counts."""
    return dict(query_items(exchange))


def limit_of(query: dict[str, str]) -> int:
    """How many are wanted on a page."""
    text = query.get("limit", "")
    if not text:
        return _DEFAULT_LIMIT
    if not (text.isascii() and text.isdigit() and len(text) < 8 and 1 <= int(text) <= _MAX_LIMIT):
        raise InvalidRequestError(f"limit: must be a number from 1 to {_MAX_LIMIT}")
    return int(text)


def cursors_of(query: dict[str, str]) -> tuple[str | None, str | None]:
    """`after_id` and `before_id`, of which only one may stand."""
    after, before = query.get("after_id"), query.get("before_id")
    if after and before:
        raise InvalidRequestError("after_id: cannot stand beside before_id")
    return after, before
