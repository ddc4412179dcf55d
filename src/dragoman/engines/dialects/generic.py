"""Any server of Chat Completions that is none of the known ones: only what the plain form holds."""

from __future__ import annotations

from typing import Any

from dragoman.engines.dialects.base import Ask, CardList, Dialect
from dragoman.wire.capabilities import EngineCapabilities
from dragoman.wire.openai import ChatRequest


class GenericDialect(Dialect):
    """Sends nothing that plain Chat Completions does not know, and believes only what the answer shows."""

    name = "generic"
    # some small servers end with the finish reason and nothing more
    omits_done = True
    health_path = "/v1/models"

    async def capabilities(self, ask: Ask, model: str) -> EngineCapabilities:
        """Tools and schemas as in the plain form; the context's length where the list of models tells."""
        return EngineCapabilities(
            context_length=await listed_context(ask, model), images=True, reasoning=True
        )

    def prepare(self, body: dict[str, Any], request: ChatRequest, capabilities: EngineCapabilities) -> None:
        """The plain form has no `top_k`; a server that is strict would refuse it."""
        body.pop("top_k", None)


async def listed_context(ask: Ask, model: str) -> int | None:
    """A model's context length as the list of models says it."""
    cards = (await ask("/v1/models", None)).read(CardList)
    found = [card.context_length for card in cards.data if card.id == model] if cards else []
    return found[0] if found else None
