"""The server of Hugging Face's transformers, `transformers serve`.

Checked on 5.23. It ignores what it does not know (`tool_choice`, `response_format`, an effort) or refuses it
(`top_k`), tells no context and goes on beyond the model's. It leaves out the words beside earlier calls and
earlier thinking; images too, where the model does not see.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from dragoman.engines.dialects.base import Ask, Dialect, Reply
from dragoman.engines.dialects.probes import (
    Render,
    switches_thinking,
    thinking_switch,
    with_template_habits,
    with_what_it_needs,
)
from dragoman.errors import EngineFaultError
from dragoman.wire.capabilities import EngineCapabilities
from dragoman.wire.openai import ChatRequest, ToolChoice

_CHAT = "/v1/chat/completions"
_COUNT = re.compile(rb'"prompt_tokens": ?(\d+)')
_PINNED = re.compile(r"Server is pinned to '(.+)'; requested '")
_WORDS = "Hi"
_TOOL = {
    "type": "function",
    "function": {
        "name": "find",
        "description": "Finds it.",
        "parameters": {"type": "object", "properties": {"query": {"type": "string", "description": "What."}}},
    },
}
# One colour, large enough for every model's pieces.
_SQUARE = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAEAAAABACAIAAAAlC+aJAAAAS0lEQVR42u3PMQ0AAAwDoEqv9ErYvQ"
    "QckD4XAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAYHLAB8+AWnmfUycAAAAAElFTkSuQmCC"
)
# The server's own, which a configuration of the request would take away.
_MAX_TOKENS = 1024


class _Told(msgspec.Struct):
    detail: str


class TransformersDialect(Dialect):
    """transformers serve: no forced calls, no structured output, no count; thinking by the template's switch.

    It describes nothing: what it can do is found on the length of prompts, each with one token as its answer.
    """

    name = "transformers"
    omits_done = True
    tells_by_answering = True

    async def recognise(self, ask: Ask) -> bool:
        """`/load_model`, which misses the name of one."""
        reply = await ask("/load_model", {})
        return reply.status == 422 and b"Missing `model` field" in reply.body

    async def only_model(self, ask: Ask) -> str | None:
        """The model that it was started with; its list is that of the hub's cache, whatever it serves."""
        reply = await ask(_CHAT, {"model": "", "messages": []})
        if reply.status != 400:
            return None
        told = Reply(200, reply.body).read(_Told)
        pinned = _PINNED.match(told.detail) if told is not None else None
        return pinned[1] if pinned is not None else None

    async def capabilities(self, ask: Ask, model: str) -> EngineCapabilities:
        """What makes a prompt longer is shown to the model; what ends in an error, its template refuses."""
        alone = self._weighing(ask, model)
        render = await with_what_it_needs(alone)
        plain = await _length(render, {})
        if plain is None:
            detail = f"{_CHAT} fails at a plain question; the server's log says why"
            raise EngineFaultError("the engine failed to answer", log_detail=detail)
        seen = await _length(render, {}, {"type": "image_url", "image_url": {"url": _SQUARE}})
        found = EngineCapabilities(
            forced_tools=False,
            structured_output=False,
            images=(seen or 0) > plain,
            reasoning=True,
            reasoning_switch=await switches_thinking(render),
        )
        found = await with_template_habits(found, render)
        # a template that takes no prompt without tools prints them
        without, tools = await _length(alone, {}), await _length(alone, {"tools": [_TOOL]})
        return msgspec.structs.replace(found, tools=(tools or 0) > (without or 0))

    def _weighing(self, ask: Ask, model: str) -> Render:
        """The length of a prompt beside the turns that were sent: what it makes of them, it does not tell."""

        async def render(members: dict[str, Any]) -> str | None:
            # a stream, as a whole answer also fails where its one token begins a call. Without sampling, as
            # under continuous batching that of the first request is the one of all
            question = {"model": model, "stream": True, "max_tokens": 1, **members}
            reply = await ask(_CHAT, question)
            if reply.status not in {200, 500}:
                raise self.refused(reply)
            count = _COUNT.search(reply.body)
            if reply.status == 500 or count is None:
                return None
            return f"{int(count[1])} {msgspec.json.encode(members['messages']).decode()}"

        return render

    def prepare(self, body: dict[str, Any], request: ChatRequest, capabilities: EngineCapabilities) -> None:
        """Leaves out what it would not obey, and puts sampling and thinking where it reads them."""
        for key in ("tool_choice", "parallel_tool_calls"):
            body.pop(key, None)
        if request.tool_choice == ToolChoice("none"):
            body.pop("tools", None)
        arguments: dict[str, Any] = {}
        if request.reasoning.enabled is not None:
            arguments |= thinking_switch(request.reasoning.enabled)
        if "reasoning_effort" in body:
            arguments["reasoning_effort"] = body.pop("reasoning_effort")
        if arguments:
            body["chat_template_kwargs"] = arguments
        _put_sampling(body)

    def needs_stream(self, request: ChatRequest) -> bool:
        """Always: a whole answer is an error where its end cuts a call, and goes on when nobody waits."""
        return True


def _put_sampling(body: dict[str, Any]) -> None:
    """Many models sample only if they are told to: without that, a temperature changes nothing.

    The configuration's members take the place of the model's own; those that it lacks stay.
    """
    top_k = body.pop("top_k", None)
    wants = top_k is not None or "top_p" in body or "temperature" in body
    if not wants or body.get("temperature") == 0:
        return
    chosen: dict[str, Any] = {"do_sample": True, "max_new_tokens": _MAX_TOKENS}
    if top_k is not None:
        chosen["top_k"] = top_k
    body["generation_config"] = msgspec.json.encode(chosen).decode()


async def _length(render: Render, members: dict[str, Any], *more: dict[str, Any]) -> int | None:
    """Tokens of the prompt of a user turn with some words and these parts; None where it is refused."""
    content = [{"type": "text", "text": _WORDS}, *more]
    prompt = await render({"messages": [{"role": "user", "content": content}], **members})
    return None if prompt is None else int(prompt.partition(" ")[0])
