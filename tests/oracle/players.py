"""Servers of each kind with a model that sees, thinks and calls, played for their dialects to ask."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from dragoman.engines.dialects import DIALECTS
from dragoman.engines.dialects.base import Reply
from dragoman.wire.capabilities import EngineCapabilities

MODEL = "served"
_NOT_FOUND = Reply(404, b"{}")


def _rendered(body: dict[str, Any]) -> str:
    """A prompt as templates make it: tools by name (the template's own arguments first), then all turns."""
    arguments = body.get("chat_template_kwargs", {})
    tools = arguments.pop("tools", body.get("tools", []))
    names = [tool["function"]["name"] for tool in tools]
    turns = [(turn["role"], turn.get("content")) for turn in body["messages"]]
    return msgspec.json.encode([names, turns, arguments]).decode()


_RENDERING: dict[str, Any] = {
    "/tokenize": lambda body: {
        "count": 1,
        "max_model_len": 32768,
        "tokens": [ord(c) for c in _rendered(body)],
    },
    "/detokenize": lambda body: {"text": "".join(map(chr, body["tokens"]))},
}
_LIST = {"data": [{"id": MODEL, "max_model_len": 32768}]}

PLAYED: dict[str, dict[str, Any]] = {
    "llamacpp": {
        "/props": {
            "default_generation_settings": {"n_ctx": 32768},
            "modalities": {"vision": True},
            "chat_template": "<think>",
        },
        "/apply-template": lambda body: {"prompt": _rendered(body)},
    },
    "vllm": {"/v1/models": _LIST, **_RENDERING},
    "sglang": {
        "/v1/models": _LIST,
        "/server_info": {"tp_size": 1, "reasoning_parser": "qwen3"},
        "/model_info": {"has_image_understanding": True},
        # it reads tools in a message, so that it sees one twice
        "/v1/chat/completions": Reply(400, b"tool names must be unique"),
        **_RENDERING,
    },
    "ollama": {
        "/api/show": {
            "capabilities": ["tools", "vision", "thinking"],
            "model_info": {"llama.context_length": 32768},
        }
    },
    # it describes nothing: the length of prompts tells
    "transformers": {"/v1/chat/completions": lambda body: {"usage": {"prompt_tokens": len(_rendered(body))}}},
    "generic": {"/v1/models": _LIST},
}


def able(name: str) -> EngineCapabilities:
    """What the dialect of that name says of a capable model."""
    replies = PLAYED[name]

    async def ask(path: str, body: object) -> Reply:
        answer = replies.get(path, _NOT_FOUND)
        if callable(answer):
            answer = answer(msgspec.json.decode(msgspec.json.encode(body)))
        return answer if isinstance(answer, Reply) else Reply(200, msgspec.json.encode(answer))

    return asyncio.run(DIALECTS[name]().capabilities(ask, MODEL))
