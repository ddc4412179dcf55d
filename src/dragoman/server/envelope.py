"""What stands in an error's headers."""

from __future__ import annotations

import math

from dragoman.errors import DragomanError


def error_headers(error: DragomanError) -> list[tuple[bytes, bytes]]:
    """What an error says about trying again."""
    headers = []
    if error.retry_after is not None:
        headers.append((b"retry-after", b"%d" % max(1, math.ceil(error.retry_after))))
    if error.should_retry is not None:
        headers.append((b"x-should-retry", b"true" if error.should_retry else b"false"))
    return headers
