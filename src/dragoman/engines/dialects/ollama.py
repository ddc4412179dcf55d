"""Ollama's server, through its Chat Completions."""

from __future__ import annotations

from typing import Any

import msgspec

from dragoman.engines.dialects.base import Ask, Dialect
from dragoman.wire.capabilities import EngineCapabilities
from dragoman.wire.openai import ChatRequest, ToolChoice


class _Version(msgspec.Struct, forbid_unknown_fields=True):
    version: str


class _Show(msgspec.Struct):
    capabilities: list[str] = []
    model_info: dict[str, Any] = {}


class OllamaDialect(Dialect):
    """Ollama: thinking by effort (asked for of models that think, only), no forced calls, no count.

    It says neither which stop string matched nor that a prompt was cut to its `num_ctx`, which is set on the
    server's side.
    """

    name = "ollama"
    health_path = "/api/version"

    async def recognise(self, ask: Ask) -> bool:
        """`/api/version` with nothing else in it."""
        return (await ask("/api/version", None)).read(_Version) is not None

    async def capabilities(self, ask: Ask, model: str) -> EngineCapabilities:
        """What `/api/show` says of the model."""
        show = (await ask("/api/show", {"model": model})).read(_Show) or _Show()
        lengths = [value for key, value in show.model_info.items() if key.endswith(".context_length")]
        thinks = "thinking" in show.capabilities
        return EngineCapabilities(
            context_length=lengths[0] if lengths and isinstance(lengths[0], int) else None,
            tools="tools" in show.capabilities,
            forced_tools=False,
            images="vision" in show.capabilities,
            reasoning=thinks,
            reasoning_switch=thinks,
        )

    def prepare(self, body: dict[str, Any], request: ChatRequest, capabilities: EngineCapabilities) -> None:
        """Leaves out what Ollama would not obey: it calls as it likes while it sees tools.

        A model that cannot think would refuse any effort.
        """
        body.pop("top_k", None)
        if request.tool_choice == ToolChoice("none"):
            for key in ("tools", "tool_choice", "parallel_tool_calls"):
                body.pop(key, None)
        if not capabilities.reasoning:
            body.pop("reasoning_effort", None)
        elif request.reasoning.enabled is False:
            body["reasoning_effort"] = "none"
        elif request.reasoning.enabled:
            body.setdefault("reasoning_effort", "medium")
