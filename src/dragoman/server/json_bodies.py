"""Bodies of the doors that are our own: JSON of one kind, read in whole."""

from __future__ import annotations

from typing import Any

import msgspec

from dragoman.errors import InvalidRequestError
from dragoman.server.exchange import Exchange, require_json
from dragoman.settings import Settings


async def json_body(exchange: Exchange, kind: type[Any], settings: Settings) -> Any:
    """A body as a value of its kind; an empty one is `{}`. `InvalidRequestError` names the field."""
    data = await exchange.body(limit=settings.limits.body_bytes, seconds=settings.timeouts.body)
    if data:
        require_json(exchange)
    try:
        return msgspec.json.decode(data or b"{}", type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequestError(str(error).replace("`$.", "`")) from error
