"""Messages by their content: what makes no difference to the model makes none to a digest.

A string equals one text block; marks for caches, signatures, `is_error: false`, empty texts and the order of
keys make no difference. The head of a conversation is its system prompt, without a billing header, and its
tools.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import msgspec
from msgspec import Raw

from dragoman.ledger.values import Message as Stored
from dragoman.wire.anthropic.blocks import (
    ContentBlock,
    ContentSource,
    DocumentBlock,
    SearchResultBlock,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
)
from dragoman.wire.anthropic.request import CountTokensRequest, Message, MessagesRequest, Tool

_DIGEST_BYTES = 16
_encode = msgspec.json.Encoder().encode
_sorted = msgspec.json.Encoder(order="sorted").encode
# What a message may hold beside its content, and a block that is not of the model's concern.
_LEFT_OUT = frozenset({"cache_control", "signature", "citations"})


def digest_of(data: bytes) -> str:
    """32 hexadecimal digits of a body."""
    return hashlib.blake2b(data, digest_size=_DIGEST_BYTES).hexdigest()


class Canonical:
    """Makes digests of requests, and remembers those of messages that were seen: a history is sent again.

    without_header: takes a billing header from the start of a system prompt's first text.
    """

    def __init__(self, without_header: Callable[[str], str], *, remembered: int = 65_536) -> None:
        self._without_header = without_header
        self._remembered = remembered
        self._known: OrderedDict[bytes, str] = OrderedDict()

    def path(self, request: CountTokensRequest) -> tuple[str, ...]:
        """The digests of a request's head and messages, in order."""
        head = self._digest(_encode([request.system, request.tools]), partial(self.head, request))
        turns = request.messages
        return (head, *(self._digest(_encode(turn), partial(message_body, turn)) for turn in turns))

    def head(self, request: CountTokensRequest) -> bytes:
        """The canonical body of the head."""
        system = request.system
        texts = [system] if isinstance(system, str) else [block.text for block in system or ()]
        if texts:
            texts[0] = self._without_header(texts[0])
        tools = [_tool(tool) for tool in request.tools or ()]
        return _sorted({"system": [text for text in texts if text], "tools": tools})

    def bodies(
        self, request: CountTokensRequest, path: Sequence[str], wanted: Callable[[str], bool]
    ) -> list[Stored]:
        """The messages of a request, head included, whose digests are wanted."""
        found: dict[str, Stored] = {}
        for digest, message in zip(path, [None, *request.messages], strict=True):
            if digest not in found and wanted(digest):
                body = self.head(request) if message is None else message_body(message)
                found[digest] = Stored(digest, body)
        return list(found.values())

    def _digest(self, raw: bytes, body: Callable[[], bytes]) -> str:
        key = hashlib.blake2b(raw, digest_size=_DIGEST_BYTES).digest()
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = digest_of(body())
            if len(self._known) > self._remembered:
                self._known.popitem(last=False)
        else:
            self._known.move_to_end(key)
        return known


def message_body(message: Message) -> bytes:
    """The canonical body of a message."""
    effort = message.output_config.effort if message.output_config is not None else None
    more = {"effort": effort} if effort else {}
    return _sorted({"role": message.role, "content": _content(message.content), **more})


def answer_of(content: Sequence[ContentBlock]) -> Stored:
    """The assistant's message as a client would send it back."""
    body = _sorted({"role": "assistant", "content": _content(list(content))})
    return Stored(digest_of(body), body)


def request_digest(request: MessagesRequest, path: Sequence[str]) -> str:
    """A digest of all that decides the answer: equal ones ask for a sample of the same distribution."""
    config = request.output_config
    return digest_of(
        _encode(
            [
                list(path),
                request.model,
                request.max_tokens,
                request.temperature,
                request.top_p,
                request.top_k,
                request.stop_sequences,
                request.tool_choice,
                request.thinking,
                None if config is None else [config.effort, config.format],
                request.context_management,
            ]
        )
    )


# ---- parts -------------------------------------------------------------------------------------------------


def _content(content: object) -> list[object]:
    if content is None:
        return []
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    assert isinstance(content, list)
    return [_block(block) for block in content if not (isinstance(block, TextBlock) and not block.text)]


def _block(block: ContentBlock) -> object:
    if isinstance(block, TextBlock):
        return {"type": "text", "text": block.text}
    if isinstance(block, ThinkingBlock):
        return {"type": "thinking", "thinking": block.thinking}
    plain = _plain(block)
    if isinstance(block, ToolResultBlock):
        plain["content"] = _content(block.content)
        if not block.is_error:
            plain.pop("is_error", None)
    elif isinstance(block, SearchResultBlock):
        plain["content"] = _content(block.content)
    elif isinstance(block, DocumentBlock) and isinstance(block.source, ContentSource):
        plain["source"] = {"type": "content", "content": _content(block.source.content)}
    return plain


def _tool(tool: Tool) -> dict[str, Any]:
    return _plain(tool)


def _plain(item: msgspec.Struct) -> dict[str, Any]:
    """A struct's members without those that say nothing; JSON that came as bytes is read."""
    plain: dict[str, Any] = {}
    if item.__struct_config__.tag is not None:
        plain["type"] = item.__struct_config__.tag
    for name, key in zip(item.__struct_fields__, item.__struct_encode_fields__, strict=True):
        value = getattr(item, name)
        if name not in _LEFT_OUT and value is not None and value is not msgspec.UNSET:
            plain[key] = msgspec.json.decode(value) if isinstance(value, Raw) else value
    return plain
