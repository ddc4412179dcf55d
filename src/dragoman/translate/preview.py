"""The plain Chat Completions request that a translation stands for, for people to read."""

from __future__ import annotations

import msgspec

from dragoman.wire.openai import ChatRequest
from dragoman.wire.openai_write import chat_body


def chat_json(chat: ChatRequest) -> bytes:
    """The request's body, indented. Continuation is shown in the spelling of vLLM and SGLang."""
    body = chat_body(chat)
    if chat.continue_final:
        body |= {"add_generation_prompt": False, "continue_final_message": True}
    return msgspec.json.format(msgspec.json.encode(body), indent=2)
