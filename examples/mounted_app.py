"""The Messages API inside of an application of your own.

`python examples/mounted_app.py` puts it under /llm of a Starlette application and asks it once, without a
network; `uvicorn mounted_app:app` serves it. FastAPI mounts it alike: `api.mount("/llm", llm)`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route

from dragoman import ScriptedInferenceEngine, asgi_app
from dragoman.engines.scripted import answer

# in its place: dragoman.RemoteInferenceEngine(EngineEntry(url="http://127.0.0.1:8000"))
engine = ScriptedInferenceEngine({"": answer("Hello from inside.")})
llm = asgi_app(engine)


async def index(_request: Request) -> JSONResponse:
    """A page of the application itself."""
    return JSONResponse({"messages": "/llm/v1/messages"})


@asynccontextmanager
async def lifespan(_app: Starlette) -> AsyncIterator[None]:
    """Starts the engines with the application and closes them after it."""
    await llm.service.client.start()
    yield
    await llm.aclose()


app = Starlette(routes=[Route("/", index), Mount("/llm", app=llm)], lifespan=lifespan)


async def main() -> None:
    """One request, as a client of the application sends it."""
    body = {"model": "scripted", "max_tokens": 50, "messages": [{"role": "user", "content": "Hello?"}]}
    transport = httpx.ASGITransport(app=app)
    async with lifespan(app), httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        response = await client.post("/llm/v1/messages", json=body)
    print(response.json()["content"][0]["text"])


if __name__ == "__main__":
    asyncio.run(main())
