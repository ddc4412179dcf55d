"""Mends small departures from the shape of Chat Completions that servers are known for."""

from __future__ import annotations

import msgspec


def repaired(value: object) -> object:
    """The value without null members, with a call's arguments as text and ids as strings."""
    if isinstance(value, list):
        return [repaired(item) for item in value]
    if not isinstance(value, dict):
        return value
    mended = {name: repaired(item) for name, item in value.items() if item is not None}
    arguments = mended.get("arguments")
    if arguments is not None and not isinstance(arguments, str):
        mended["arguments"] = msgspec.json.encode(arguments).decode()
    if isinstance(mended.get("id"), int):
        mended["id"] = str(mended["id"])
    return mended
