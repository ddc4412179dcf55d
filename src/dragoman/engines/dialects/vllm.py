"""vLLM's server.

Checked on 0.32: the count by `/tokenize` is the one of the usage; a prompt that is too long is cut before it
is counted, so the number in the error is not its length; more than four stop strings are refused.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from dragoman.engines.dialects.base import Ask
from dragoman.engines.dialects.doors import VLLMTokenDoor
from dragoman.engines.dialects.generic import listed_context
from dragoman.engines.dialects.probes import switches_thinking, thinking_switch, with_template_habits
from dragoman.engines.dialects.rendering import RenderingDialect
from dragoman.engines.dialects.unlisted import hides_unlisted, tell_apart
from dragoman.wire.capabilities import EngineCapabilities
from dragoman.wire.openai import ChatAnswer, ChatChoice, ChatDelta, ChatRequest, ChatTool, ChunkChoice

_RUNNING = re.compile(rb"^vllm:num_requests_(?:running|waiting)\{[^\n]*\} ([\d.e+]+)", re.MULTILINE)
# The smallest PNG: one dot.
_DOT = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAA"
    "AABJRU5ErkJggg=="
)


class _Version(msgspec.Struct, forbid_unknown_fields=True):
    version: str


class VLLMDialect(RenderingDialect):
    """vLLM: thinking in `reasoning`, the matched stop in `stop_reason`, template arguments per request."""

    name = "vllm"
    door = VLLMTokenDoor()
    most_stops = 4
    counted = (
        "model",
        "messages",
        "tools",
        "chat_template_kwargs",
        "add_generation_prompt",
        "continue_final_message",
    )

    async def recognise(self, ask: Ask) -> bool:
        """`/version` with nothing else in it, on a server that is none of the others."""
        return (await ask("/version", None)).read(_Version) is not None

    async def capabilities(self, ask: Ask, model: str) -> EngineCapabilities:
        """Context from the list of models; the template's habits, and whether the model sees, by probes."""
        render = self.renderer(ask, model)
        can_render = await self.renders(ask, model)
        found = EngineCapabilities(
            context_length=await listed_context(ask, model),
            fills_context=True,
            images=await self._sees(ask, model),
            reasoning=True,
            reasoning_switch=await switches_thinking(render),
            continuation=True,
            counting=can_render,
            matched_stop=True,
            unlisted_tools=can_render and await hides_unlisted(render, _shown),
            logprobs=True,
            token_ids=True,
            token_door=True,
        )
        return await with_template_habits(found, render) if can_render else found

    async def _sees(self, ask: Ask, model: str) -> bool:
        """Whether a prompt with an image renders; a server that cannot render refuses images by itself."""
        message = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": _DOT}}]}
        reply = await ask("/tokenize", {"model": model, "messages": [message]})
        return b"multimodal" not in reply.body

    async def running(self, ask: Ask) -> int | None:
        """From its metrics: running and waiting."""
        reply = await ask("/metrics", None)
        counts = [float(count) for count in _RUNNING.findall(reply.body)] if reply.status == 200 else []
        return int(sum(counts)) if counts else None

    def prepare(self, body: dict[str, Any], request: ChatRequest, capabilities: EngineCapabilities) -> None:
        """Adds the thinking switch and the continuation of a last assistant turn.

        The server makes template arguments of an effort; written out, they are the same for the count.
        """
        if request.reasoning.enabled is not None:
            body["chat_template_kwargs"] = thinking_switch(request.reasoning.enabled)
        if "reasoning_effort" in body:
            arguments = body.setdefault("chat_template_kwargs", {})
            arguments["reasoning_effort"] = body["reasoning_effort"]
            arguments.setdefault("enable_thinking", True)
        if capabilities.unlisted_tools and request.tools:
            tell_apart(body, request, _shown, request.callable_tools, request.tools)
        if request.return_token_ids:
            body["return_token_ids"] = True
        if request.return_logprobs:
            body["logprobs"] = True
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


def _shown(tool: ChatTool) -> dict[str, Any]:
    """A tool as the server gives it to the template: with a description, if only null, as its type has it."""
    function = tool.function
    shown: dict[str, Any] = {"name": function.name, "description": function.description}
    shown["parameters"] = function.parameters
    if function.strict is not None:
        shown["strict"] = function.strict
    return {"type": tool.type, "function": shown}
