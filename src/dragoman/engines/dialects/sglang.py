"""SGLang's server."""

from __future__ import annotations

from typing import Any

import msgspec

from dragoman.engines.dialects.base import Ask, Dialect, Reply
from dragoman.engines.dialects.generic import listed_context
from dragoman.engines.dialects.vllm import switch_thinking
from dragoman.wire.capabilities import EngineCapabilities
from dragoman.wire.openai import ChatAnswer, ChatChoice, ChatDelta, ChatRequest, ChunkChoice


class ServerInfo(msgspec.Struct):
    """What `/server_info` says that we read; `tp_size` is required, as no other server has it there."""

    tp_size: int
    context_length: int | None = None
    max_req_input_len: int | None = None
    reasoning_parser: str | None = None


class _ModelInfo(msgspec.Struct):
    has_image_understanding: bool = False


async def server_info(ask: Ask) -> ServerInfo | None:
    """The server's description, by its name of today or the one before."""
    for path in ("/server_info", "/get_server_info"):
        info = (await ask(path, None)).read(ServerInfo)
        if info is not None:
            return info
    return None


class SGLangDialect(Dialect):
    """SGLang: thinking in `reasoning_content`, the matched stop in `matched_stop`.

    Its chat form has no count that holds for tools, so it counts not at all: the Messages count of the server
    renders another prompt (each tool gets `"strict": false`) than its chat answers.
    """

    name = "sglang"
    # it refuses a request that would fill the context to the last token
    answer_margin = 1

    async def recognise(self, ask: Ask) -> bool:
        """Its description of itself is like no other's."""
        return await server_info(ask) is not None

    async def capabilities(self, ask: Ask, model: str) -> EngineCapabilities:
        """Context and parser from the server's description, images from the model's."""
        info = await server_info(ask)
        model_info = await self._model_info(ask)
        listed = await listed_context(ask, model)
        return EngineCapabilities(
            context_length=listed or (info and (info.context_length or info.max_req_input_len)) or None,
            fills_context=True,
            images=model_info is None or model_info.has_image_understanding,
            reasoning=info is None or info.reasoning_parser is not None,
            reasoning_switch=info is not None and info.reasoning_parser is not None,
            continuation=True,
            matched_stop=True,
        )

    async def _model_info(self, ask: Ask) -> _ModelInfo | None:
        for path in ("/model_info", "/get_model_info"):
            reply: Reply = await ask(path, None)
            # only newer servers tell whether the model sees
            if b'"has_image_understanding"' in reply.body:
                return reply.read(_ModelInfo)
        return None

    def prepare(self, body: dict[str, Any], request: ChatRequest, capabilities: EngineCapabilities) -> None:
        """Adds the thinking switch and the continuation of a last assistant turn."""
        switch_thinking(body, request)
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
