"""Servers that render a chat when asked: `/tokenize` takes messages, `/detokenize` gives the prompt back."""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

from dragoman.engines.dialects.base import Ask, Dialect
from dragoman.engines.dialects.probes import Render, with_what_it_needs
from dragoman.wire.capabilities import EngineCapabilities
from dragoman.wire.openai import ChatRequest


class Tokenized(msgspec.Struct):
    """A prompt as tokens."""

    tokens: list[int]
    count: int


class Detokenized(msgspec.Struct):
    """Tokens as text, under either server's name for it."""

    prompt: str | None = None
    text: str | None = None


class RenderingDialect(Dialect):
    """What vLLM and SGLang share. counted: the members of a request that shape its prompt, known there."""

    counted: ClassVar[tuple[str, ...]] = ()

    def renderer(self, ask: Ask, model: str) -> Render:
        """Renders members of a request to the prompt's text; None where server or template refuses."""

        async def render(members: dict[str, Any]) -> str | None:
            tokenized = (await ask("/tokenize", {"model": model, **members})).read(Tokenized)
            if tokenized is None:
                return None
            question = {"model": model, "tokens": tokenized.tokens, "skip_special_tokens": False}
            text = (await ask("/detokenize", question)).read(Detokenized)
            return None if text is None else text.prompt or text.text

        return render

    async def renders(self, ask: Ask, model: str) -> bool:
        """Whether this server renders chats at all: older ones know only texts."""
        render = await with_what_it_needs(self.renderer(ask, model))
        return await render({"messages": [{"role": "user", "content": "Hi"}]}) is not None

    async def count(self, ask: Ask, request: ChatRequest, capabilities: EngineCapabilities) -> int:
        """The length of the prompt that the server makes of the request."""
        if not capabilities.counting:
            return await super().count(ask, request, capabilities)
        return (await self._tokenized(ask, request, capabilities)).count

    async def render(self, ask: Ask, request: ChatRequest, capabilities: EngineCapabilities) -> list[int]:
        """The prompt that the server makes of the request; with images its ids do not say all of it."""
        if not capabilities.counting or request.has_images:
            return await super().render(ask, request, capabilities)
        return (await self._tokenized(ask, request, capabilities)).tokens

    async def detokenize(self, ask: Ask, model: str, token_ids: list[int]) -> str:
        """The server's own text."""
        question = {"model": model, "tokens": token_ids, "skip_special_tokens": False}
        reply = await ask("/detokenize", question)
        text = reply.read(Detokenized)
        if text is None:
            raise self.refused(reply)
        return text.prompt or text.text or ""

    async def _tokenized(self, ask: Ask, request: ChatRequest, capabilities: EngineCapabilities) -> Tokenized:
        body = self.body(request, capabilities)
        reply = await ask("/tokenize", {name: body[name] for name in self.counted if name in body})
        tokenized = reply.read(Tokenized)
        if tokenized is None:
            raise self.refused(reply)
        return tokenized
