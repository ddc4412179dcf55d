"""Why something that a request points at cannot be had."""

from __future__ import annotations


class ContentError(Exception):
    """What is wrong with a document, an image or an address, in words for the client, without its path."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message
