"""Which session a call belongs to: what the client says, else a fingerprint that serves placement only."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping

import msgspec

from dragoman.errors import InvalidRequestError
from dragoman.translate.system import block_texts, without_billing_header
from dragoman.wire.anthropic import CountTokensRequest, Message
from dragoman.wire.anthropic.blocks import TextBlock
from dragoman.wire.identity import SessionKey

_SESSION_HEADER = "x-session-id"
_CLAUDE_CODE_HEADER = "x-claude-code-session-id"
# The form of older clients: user_<hash>_account_<id>_session_<id>
_SESSION_SUFFIX = re.compile(r"_session_([^\s_]+)\Z")
_FINGERPRINT_BYTES = 16


class _UserId(msgspec.Struct):
    session_id: str | int | None = None


def session_key(request: CountTokensRequest, headers: Mapping[str, str]) -> SessionKey | None:
    """The session of a request: its own field or header, Claude Code's, the metadata's, else a fingerprint.

    `headers` has lower-case names, or finds names in any case. Raises `InvalidRequestError` where the field
    and the header name different sessions.
    """
    return next(_found(request, headers), None)


def _found(request: CountTokensRequest, headers: Mapping[str, str]) -> Iterator[SessionKey]:
    said = "" if request.session_id is None else str(request.session_id)
    header = headers.get(_SESSION_HEADER, "").strip()
    if said and header and said != header:
        raise InvalidRequestError("session_id: differs from the header X-Session-ID")
    if said:
        yield SessionKey(said, "session_id")
    if header:
        yield SessionKey(header, _SESSION_HEADER)
    claude_code = headers.get(_CLAUDE_CODE_HEADER, "").strip()
    if claude_code:
        yield SessionKey(claude_code, _CLAUDE_CODE_HEADER)
    user_id = request.metadata.user_id if request.metadata else None
    in_user_id = session_in_user_id(user_id or "")
    if in_user_id:
        yield SessionKey(in_user_id, "metadata.user_id")
    yield SessionKey(fingerprint(request), "fingerprint", durable=False)


def session_in_user_id(user_id: str) -> str | None:
    """The session that a client wrote into `metadata.user_id`: in JSON, or as a suffix."""
    if user_id.startswith("{"):
        try:
            found = msgspec.json.decode(user_id, type=_UserId).session_id
        except msgspec.DecodeError:
            return None
        return None if found is None else str(found) or None
    suffix = _SESSION_SUFFIX.search(user_id)
    return suffix[1] if suffix else None


def fingerprint(request: CountTokensRequest) -> str:
    """A digest of what stays the same through a conversation: system, tools and the first user turn."""
    texts = block_texts(request.system)
    if texts:
        # it changes from call to call
        texts[0] = without_billing_header(texts[0])
    first = next((message for message in request.messages if message.role == "user"), None)
    # clients declare a deferred tool when they load it
    tools = [uncached(tool) for tool in request.tools or () if not tool.defer_loading]
    head = [texts, tools, _contents(first)]
    return hashlib.blake2b(msgspec.json.encode(head), digest_size=_FINGERPRINT_BYTES).hexdigest()


def _contents(message: Message | None) -> list[object]:
    if message is None:
        return []
    if isinstance(message.content, str):
        return [message.content]
    return [block.text if isinstance(block, TextBlock) else uncached(block) for block in message.content]


def uncached(item: msgspec.Struct) -> msgspec.Struct:
    """A block or tool without its mark for a cache: clients move it along as the conversation grows."""
    return msgspec.structs.replace(item, cache_control=None) if hasattr(item, "cache_control") else item
