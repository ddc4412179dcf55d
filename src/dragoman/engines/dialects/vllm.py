"""vLLM's server: counts and renders with `/tokenize` and `/detokenize`."""

from __future__ import annotations

from typing import Any

import msgspec

from dragoman.engines.dialects.base import Ask, Dialect
from dragoman.engines.dialects.generic import listed_context
from dragoman.engines.dialects.probes import keeps_system_in_place, switches_thinking, thinking_switch
from dragoman.wire.capabilities import EngineCapabilities
from dragoman.wire.openai import ChatAnswer, ChatChoice, ChatDelta, ChatRequest, ChunkChoice

# What of a request shapes the prompt and is known to /tokenize.
_COUNTED = (
    "model",
    "messages",
    "tools",
    "chat_template_kwargs",
    "add_generation_prompt",
    "continue_final_message",
)
# The smallest PNG: one dot.
_DOT = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAA"
    "AABJRU5ErkJggg=="
)


class _Version(msgspec.Struct, forbid_unknown_fields=True):
    version: str


class _Tokenized(msgspec.Struct):
    tokens: list[int]
    count: int


class _Prompt(msgspec.Struct):
    prompt: str


class VLLMDialect(Dialect):
    """vLLM: thinking in `reasoning`, the matched stop in `stop_reason`, template arguments per request."""

    name = "vllm"
    most_stops = 4

    async def recognise(self, ask: Ask) -> bool:
        """`/version` with nothing else in it, on a server that is none of the others."""
        return (await ask("/version", None)).read(_Version) is not None

    async def capabilities(self, ask: Ask, model: str) -> EngineCapabilities:
        """Context from the list of models; the template's habits, and whether the model sees, by probes."""

        async def render(members: dict[str, Any]) -> str | None:
            tokens = (await ask("/tokenize", {"model": model, **members})).read(_Tokenized)
            if tokens is None:
                return None
            prompt = await ask("/detokenize", {"model": model, "tokens": tokens.tokens})
            text = prompt.read(_Prompt)
            return None if text is None else text.prompt

        can_render = await render({"messages": [{"role": "user", "content": "alpha-1"}]}) is not None
        switch = await switches_thinking(render)
        return EngineCapabilities(
            context_length=await listed_context(ask, model),
            fills_context=True,
            images=await self._sees(ask, model),
            reasoning=True,
            reasoning_switch=switch,
            continuation=True,
            counting=can_render,
            matched_stop=True,
            system_in_place=not can_render or await keeps_system_in_place(render),
        )

    async def _sees(self, ask: Ask, model: str) -> bool:
        """Whether a prompt with an image renders; a server that cannot render refuses images by itself."""
        message = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": _DOT}}]}
        reply = await ask("/tokenize", {"model": model, "messages": [message]})
        return b"multimodal" not in reply.body

    async def count(self, ask: Ask, request: ChatRequest, capabilities: EngineCapabilities) -> int:
        """The length of the prompt that `/tokenize` makes of the messages and tools."""
        if not capabilities.counting:
            return await super().count(ask, request, capabilities)
        body = self.body(request, capabilities)
        reply = await ask("/tokenize", {name: body[name] for name in _COUNTED if name in body})
        tokenized = reply.read(_Tokenized)
        if tokenized is None:
            raise self.refused(reply)
        return tokenized.count

    def prepare(self, body: dict[str, Any], request: ChatRequest, capabilities: EngineCapabilities) -> None:
        """Adds the thinking switch and the continuation of a last assistant turn.

        The server makes template arguments of an effort; written out, they are the same for the count.
        """
        switch_thinking(body, request)
        if "reasoning_effort" in body:
            arguments = body.setdefault("chat_template_kwargs", {})
            arguments["reasoning_effort"] = body["reasoning_effort"]
            arguments.setdefault("enable_thinking", True)
        if request.continue_final:
            body["continue_final_message"] = True
            body["add_generation_prompt"] = False

    def prepare_stream(self, body: dict[str, Any], *, counted: bool) -> None:
        """Usage in every chunk, where asked."""
        if counted:
            body["stream_options"]["continuous_usage_stats"] = True

    def read_choice(self, choice: ChunkChoice | ChatChoice, delta: ChatDelta | ChatAnswer) -> None:
        """The matched stop stands in `stop_reason`; a number there is a token, not a string."""
        super().read_choice(choice, delta)
        if choice.stop_reason is not None:
            choice.matched_stop = choice.stop_reason if isinstance(choice.stop_reason, str) else None
            choice.stop_reason = None


def switch_thinking(body: dict[str, Any], request: ChatRequest) -> None:
    """Template arguments for thinking; templates that know none of the names pass over them."""
    if request.reasoning.enabled is not None:
        body["chat_template_kwargs"] = thinking_switch(request.reasoning.enabled)
