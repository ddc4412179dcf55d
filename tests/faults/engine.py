"""An engine process that counts: `python engine.py PORT` serves OpenAI's chat on loopback until it is killed.

A request "count to N" is answered by the numbers from 1 on, a token each; an assistant turn is continued.
`POST /chaos` with `{"delay": seconds}` slows it, with `{"garbage": true}` it answers what is no answer.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

STATE: dict[str, Any] = {"delay": 0.01, "garbage": False}
MODEL = "counter"
VOCABULARY: dict[str, int] = {}


async def models(_request: Request) -> Response:
    """What is served."""
    return JSONResponse({"data": [{"id": MODEL, "owned_by": "vllm", "max_model_len": 100_000}]})


async def health(_request: Request) -> Response:
    """Well."""
    return JSONResponse({})


async def chaos(request: Request) -> Response:
    """Changes how it behaves."""
    STATE.update(await request.json())
    return JSONResponse(STATE)


async def chat(request: Request) -> Response:
    """The numbers."""
    body = await request.json()
    if STATE["garbage"]:
        return StreamingResponse(garbage(), media_type="text/event-stream")
    messages = body["messages"]
    end = int(re.findall(r"count to (\d+)", str(messages[0]["content"]))[-1])
    begun = len(re.findall(r"\d+", messages[-1]["content"])) if body.get("continue_final_message") else 0
    return StreamingResponse(counting(begun + 1, end, len(rendered(body))), media_type="text/event-stream")


def rendered(body: dict[str, Any]) -> list[str]:
    """The words of a prompt: each is a token."""
    turns = [f"{message['role']} {message.get('content') or ''}" for message in body["messages"]]
    tools = [tool["function"]["name"] for tool in body.get("tools") or ()]
    begun = [] if body.get("continue_final_message") else ["assistant"]
    return [word for text in (*tools, *turns, *begun) for word in str(text).split()]


async def tokenize(request: Request) -> Response:
    """The words as numbers."""
    words = rendered(await request.json())
    ids = [VOCABULARY.setdefault(word, len(VOCABULARY)) for word in words]
    return JSONResponse({"tokens": ids, "count": len(ids)})


async def detokenize(request: Request) -> Response:
    """The numbers as words."""
    words = list(VOCABULARY)
    return JSONResponse({"prompt": " ".join(words[each] for each in (await request.json())["tokens"])})


async def garbage() -> AsyncIterator[bytes]:
    """No answer."""
    yield b'data: {"choices": [{"index": 0, "delta": {"content": "half a'
    await asyncio.sleep(0.05)
    yield b"\x00\xff\n\n"


async def counting(first: int, end: int, prompt: int) -> AsyncIterator[bytes]:
    """The chunks of an answer."""
    for number in range(first, end + 1):
        await asyncio.sleep(STATE["delay"])
        yield chunk({"content": f" {number}" if number > 1 else "1"})
        if STATE["garbage"]:
            async for piece in garbage():
                yield piece
            return
    yield chunk({}, "stop")
    counts = {"prompt_tokens": prompt, "completion_tokens": end + 1 - first}
    yield b"data: %b\n\ndata: [DONE]\n\n" % json.dumps({"choices": [], "usage": counts}).encode()


def chunk(delta: dict[str, str], finish: str | None = None) -> bytes:
    """One chunk's bytes."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return b"data: %b\n\n" % json.dumps({"choices": [choice]}).encode()


ROUTES = [
    Route("/v1/models", models),
    Route("/health", health),
    Route("/tokenize", tokenize, methods=["POST"]),
    Route("/detokenize", detokenize, methods=["POST"]),
    Route("/chaos", chaos, methods=["POST"]),
    Route("/v1/chat/completions", chat, methods=["POST"]),
]

if __name__ == "__main__":
    uvicorn.run(Starlette(routes=ROUTES), host="127.0.0.1", port=int(sys.argv[1]), log_level="error")
