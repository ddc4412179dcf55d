"""SGLang's server.

Checked on 0.5.23: `/tokenize` makes the very prompt of the chat answer (with `"strict": false` in each tool).
"""

from __future__ import annotations

from typing import Any

import msgspec

from dragoman.engines.dialects.base import Ask, Reply
from dragoman.engines.dialects.doors import SGLangTokenDoor
from dragoman.engines.dialects.generic import listed_context
from dragoman.engines.dialects.probes import switches_thinking, thinking_switch, with_template_habits
from dragoman.engines.dialects.rendering import RenderingDialect
from dragoman.engines.dialects.unlisted import hides_in_messages, twice, with_tools
from dragoman.errors import NotSupportedError
from dragoman.wire.capabilities import EngineCapabilities
from dragoman.wire.openai import ChatAnswer, ChatChoice, ChatDelta, ChatMessage, ChatRequest, ChunkChoice
from dragoman.wire.openai_write import plain_tools


class ServerInfo(msgspec.Struct):
    """What `/server_info` says that we read; `tp_size` is required, as no other server has it there."""

    tp_size: int
    context_length: int | None = None
    max_req_input_len: int | None = None
    reasoning_parser: str | None = None


class _Load(msgspec.Struct):
    num_running_reqs: int
    num_waiting_reqs: int


class _Loads(msgspec.Struct):
    loads: list[_Load]


class _ModelInfo(msgspec.Struct):
    has_image_understanding: bool = False


async def server_info(ask: Ask) -> ServerInfo | None:
    """The server's description, by its name of today or the one before."""
    for path in ("/server_info", "/get_server_info"):
        info = (await ask(path, None)).read(ServerInfo)
        if info is not None:
            return info
    return None


class SGLangDialect(RenderingDialect):
    """SGLang: thinking in `reasoning_content`, the matched stop in `matched_stop`, template arguments."""

    name = "sglang"
    door = SGLangTokenDoor()
    # it refuses a request that would fill the context to the last token
    answer_margin = 1
    counted = (
        "model",
        "messages",
        "tools",
        "tool_choice",
        "reasoning_effort",
        "chat_template_kwargs",
        "continue_final_message",
    )

    async def recognise(self, ask: Ask) -> bool:
        """Its description of itself is like no other's."""
        return await server_info(ask) is not None

    async def capabilities(self, ask: Ask, model: str) -> EngineCapabilities:
        """Context and parser from the server's description, images from the model's, habits by probes."""
        info = await server_info(ask) or ServerInfo(tp_size=1, reasoning_parser="not told")
        model_info = await self._model_info(ask)
        render = self.renderer(ask, model)
        can_render = await self.renders(ask, model)
        found = EngineCapabilities(
            context_length=await listed_context(ask, model) or info.context_length or info.max_req_input_len,
            fills_context=True,
            images=model_info is None or model_info.has_image_understanding,
            reasoning=info.reasoning_parser is not None,
            reasoning_switch=can_render and await switches_thinking(render),
            continuation=True,
            counting=can_render,
            matched_stop=True,
            unlisted_tools=can_render and await self._reads_tools_in_messages(ask, model),
            logprobs=True,
            # it tells ids in whole answers only
            token_ids=False,
            token_door=True,
        )
        return await with_template_habits(found, render) if can_render else found

    async def count(self, ask: Ask, request: ChatRequest, capabilities: EngineCapabilities) -> int:
        """The length of the rendered prompt; with images it is none, as each stands there as one mark."""
        if request.has_images:
            raise NotSupportedError("the engine (sglang) cannot count the tokens of images")
        return await super().count(ask, request, capabilities)

    async def running(self, ask: Ask) -> int | None:
        """From its loads: running and waiting, on all ranks."""
        loads = (await ask("/v1/loads", None)).read(_Loads)
        return (
            None if loads is None else sum(one.num_running_reqs + one.num_waiting_reqs for one in loads.loads)
        )

    async def _reads_tools_in_messages(self, ask: Ask, model: str) -> bool:
        """Whether tools that a system turn brings along can be called, and are not printed.

        An older server ignores them in silence, so that it is asked for what only a newer one refuses.
        """
        if not await hides_in_messages(self.renderer(ask, model)):
            return False
        reply = await ask("/v1/chat/completions", twice(model))
        return reply.status == 400 and b"unique" in reply.body

    async def _model_info(self, ask: Ask) -> _ModelInfo | None:
        for path in ("/model_info", "/get_model_info"):
            reply: Reply = await ask(path, None)
            # only newer servers tell whether the model sees
            if b'"has_image_understanding"' in reply.body:
                return reply.read(_ModelInfo)
        return None

    def prepare(self, body: dict[str, Any], request: ChatRequest, capabilities: EngineCapabilities) -> None:
        """Adds the thinking switch and the continuation of a last assistant turn."""
        if request.reasoning.enabled is not None:
            body["chat_template_kwargs"] = thinking_switch(request.reasoning.enabled)
        if capabilities.unlisted_tools and request.loaded_tools:
            _bring_along(body, request)
        if request.continue_final:
            body["continue_final_message"] = True

    def prepare_stream(self, body: dict[str, Any], *, counted: bool) -> None:
        """Usage in every chunk, where asked."""
        if counted:
            body["stream_options"]["continuous_usage_stats"] = True

    def read_choice(self, choice: ChunkChoice | ChatChoice, delta: ChatDelta | ChatAnswer) -> None:
        """A number in `matched_stop` is a token, not a string."""
        super().read_choice(choice, delta)
        if isinstance(choice.matched_stop, int):
            choice.matched_stop = None


def _bring_along(body: dict[str, Any], request: ChatRequest) -> None:
    """Puts the loaded tools into the system turn at the head, where that can be.

    The server knows no tool twice and none less than it prints: one that was defined anew, and one that was
    removed where a call is forced, must be told of in the plain way; so must one that is forced by its name,
    as the server looks for that in the request's own only.
    """
    if request.tool_choice is not None and request.tool_choice.mode == "function":
        return
    messages = body["messages"]
    has_head = isinstance(messages[0], ChatMessage) and messages[0].role == "system"
    if request.tools and has_head and plain_tools(request)[: len(request.tools)] == request.tools:
        body["messages"] = with_tools(messages, request.loaded_tools)
        body["tools"] = request.tools
