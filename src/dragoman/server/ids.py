"""Ids that the server gives out."""

from __future__ import annotations

import secrets


def new_id(prefix: str) -> str:
    """A random id, `req_` or `msg_` before 24 hexadecimal digits."""
    return f"{prefix}_{secrets.token_hex(12)}"
