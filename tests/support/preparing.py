"""A request as the service hands it to the translation: what it points at in its place, and edited."""

from __future__ import annotations

import base64

from dragoman.content.resolver import ContentResolver
from dragoman.service.editing import edited
from dragoman.settings import Settings
from dragoman.store.interface import FileContent
from dragoman.translate.editing import estimated_tokens
from dragoman.wire.anthropic.request import CountTokensRequest
from dragoman.wire.capabilities import EngineCapabilities
from dragoman.wire.identity import Caller
from tests.support.translation import PNG

FILES = {
    "file_dot": FileContent(data=base64.b64decode(PNG), mime_type="image/png", filename="dot.png"),
    "file_note": FileContent(data=b"Milk, eggs.", mime_type="text/plain", filename="note.txt"),
}


async def read_file(file_id: str, scope: str) -> FileContent:
    """The files that the requests name."""
    return FILES[file_id]


async def estimate(request: CountTokensRequest) -> int:
    """Tokens of a prompt, for edits that wait for a number of them."""
    return estimated_tokens(request)


async def prepared(request: CountTokensRequest, capabilities: EngineCapabilities) -> CountTokensRequest:
    """The request with what it points at, after its edits."""
    resolver = ContentResolver(Settings(), read_file=read_file)
    try:
        resolved = await resolver(request, Caller(request_id="req_test"), capabilities)
        found: CountTokensRequest = (await edited(resolved, estimate)).request
        return found
    finally:
        await resolver.aclose()
