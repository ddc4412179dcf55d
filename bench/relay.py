"""The relay: copies the engine's bytes without reading them, on the server stack that Dragoman uses."""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import AsyncIterator

import aiohttp
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

ENGINE = "BENCH_ENGINE"


@contextlib.asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    """Holds the one pooled session to the engine."""
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as session:
        app.state.session = session
        yield


async def copy(request: Request) -> StreamingResponse:
    """Sends the body on and the answer back."""
    answer = await request.app.state.session.post(
        os.environ[ENGINE] + "/v1/chat/completions",
        data=await request.body(),
        headers={"content-type": "application/json"},
    )

    async def pieces() -> AsyncIterator[bytes]:
        async with answer:
            async for piece in answer.content.iter_any():
                yield piece

    return StreamingResponse(pieces(), status_code=answer.status, media_type="text/event-stream")


async def ready(_: Request) -> Response:
    """Says that the relay is up."""
    return PlainTextResponse("ok")


app = Starlette(
    routes=[Route("/v1/messages", copy, methods=["POST"]), Route("/ready", ready)], lifespan=lifespan
)

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=parser.parse_args().port,
        http="httptools",
        loop="uvloop",
        access_log=False,
        log_level="warning",
    )
