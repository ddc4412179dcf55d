"""Requests for the tests of the translation: from a body as JSON to the chat request."""

from __future__ import annotations

from typing import Any

import msgspec

from dragoman.translate.request import RequestOptions, Translation, to_chat
from dragoman.translate.signature import OpenedThinking, Signer
from dragoman.wire.anthropic.codec import decode_count, decode_messages
from dragoman.wire.capabilities import EngineCapabilities
from dragoman.wire.openai import ChatMessage

KEY = b"k" * 32
NONCE = b"n" * 12
SIGNER = Signer([KEY])
# An engine that can do everything, so that each test takes away what it is about.
ABLE = EngineCapabilities(
    context_length=32768,
    images=True,
    reasoning=True,
    reasoning_switch=True,
    continuation=True,
    counting=True,
)
PNG = "iVBORw0KGgo="
SCHEMA: dict[str, Any] = {"type": "object", "properties": {"q": {"type": "string"}}}


def able_but(**changes: Any) -> EngineCapabilities:
    """The able engine with something changed."""
    return msgspec.structs.replace(ABLE, **changes)


def no_spelling(call_id: str) -> str | None:
    """A memory of spellings that holds nothing."""
    return None


def options(**changes: Any) -> RequestOptions:
    """Options for the able engine, with something changed."""
    values: dict[str, Any] = {
        "model": "served",
        "capabilities": ABLE,
        "open_thinking": SIGNER.open,
        "spelling": no_spelling,
    }
    return RequestOptions(**(values | changes))


def body(**fields: Any) -> bytes:
    """The bytes of a request: one user turn, unless said otherwise; a field of `...` is left out."""
    values = {"model": "m", "max_tokens": 64, "messages": [user("hi")]} | fields
    return msgspec.json.encode({key: value for key, value in values.items() if value is not ...})


def translated(changes: dict[str, Any] | None = None, /, **fields: Any) -> Translation:
    """The translation of a request with these fields, under options with these changes."""
    return to_chat(decode_messages(body(**fields)), options(**(changes or {})))


def counted(changes: dict[str, Any] | None = None, /, **fields: Any) -> Translation:
    """The same for a request that only counts."""
    return to_chat(decode_count(body(max_tokens=..., **fields)), options(**(changes or {})))


def chat(*messages: dict[str, Any], **changes: Any) -> list[ChatMessage]:
    """The chat messages of a conversation."""
    return translated(changes, messages=list(messages)).chat.messages


def plain(messages: list[ChatMessage]) -> list[dict[str, Any]]:
    """Chat messages as JSON values."""
    values: list[dict[str, Any]] = msgspec.to_builtins(messages)
    return values


# --- pieces of requests ---


def user(*content: Any) -> dict[str, Any]:
    """A user turn: one string, or blocks."""
    return _turn("user", content)


def assistant(*content: Any) -> dict[str, Any]:
    """An assistant turn: one string, or blocks."""
    return _turn("assistant", content)


def system(*content: Any) -> dict[str, Any]:
    """A system turn inside the conversation."""
    return _turn("system", content)


def _turn(role: str, content: tuple[Any, ...]) -> dict[str, Any]:
    whole = len(content) == 1 and isinstance(content[0], str)
    return {"role": role, "content": content[0] if whole else list(content)}


def text(words: str, **more: Any) -> dict[str, Any]:
    """A text block."""
    return {"type": "text", "text": words, **more}


def call(call_id: str = "toolu_a", name: str = "f", arguments: Any = None, **more: Any) -> dict[str, Any]:
    """A tool_use block."""
    return {"type": "tool_use", "id": call_id, "name": name, "input": arguments or {}, **more}


def result(call_id: str = "toolu_a", content: Any = "ok", **more: Any) -> dict[str, Any]:
    """A tool_result block; a content of `...` is left out."""
    block = {"type": "tool_result", "tool_use_id": call_id, "content": content, **more}
    return {key: value for key, value in block.items() if value is not ...}


def image(data: str = PNG, media_type: str = "image/png") -> dict[str, Any]:
    """An image block in base64."""
    return {"type": "image", "source": {"type": "base64", "media_type": media_type, "data": data}}


def document(source: Any = "words", **more: Any) -> dict[str, Any]:
    """A document: of plain text, of a list of blocks, or with the source that is given."""
    if isinstance(source, str):
        source = {"type": "text", "media_type": "text/plain", "data": source}
    elif isinstance(source, list):
        source = {"type": "content", "content": source}
    return {"type": "document", "source": source, **more}


def search_result(*words: str, source: str = "s", title: str = "t", **more: Any) -> dict[str, Any]:
    """A search result with these texts."""
    found = {"type": "search_result", "source": source, "title": title, **more}
    return found | {"content": [text(one) for one in words]}


def thinking(words: str, signature: str | None = None, *, visible: bool = True) -> dict[str, Any]:
    """A thinking block as it comes home: signed by us, unless another signature is given."""
    own = SIGNER.seal(words, visible=visible, nonce=NONCE)
    shown = words if visible else ""
    return {"type": "thinking", "thinking": shown, "signature": own if signature is None else signature}


def tool(name: Any = "f", **more: Any) -> dict[str, Any]:
    """A custom tool; a field of `...` is left out."""
    values = {"name": name, "description": "does f", "input_schema": SCHEMA, **more}
    return {key: value for key, value in values.items() if value is not ...}


def opened_as_foreign(signature: str, shown: str) -> OpenedThinking:
    """An opener without a key."""
    return OpenedThinking("foreign", shown)
