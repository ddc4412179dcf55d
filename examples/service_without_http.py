"""The Messages API in a Python program, without HTTP: a whole answer, a stream, a count.

`python examples/service_without_http.py` runs on a scripted engine; any other takes its place.
"""

from __future__ import annotations

import asyncio

import msgspec

from dragoman import ScriptedInferenceEngine, create_service
from dragoman.engines.scripted import answer
from dragoman.settings import Settings
from dragoman.wire.anthropic.codec import decode_count, decode_messages
from dragoman.wire.identity import Caller

BODY = msgspec.json.encode(
    {
        "model": "scripted",
        "max_tokens": 50,
        "messages": [{"role": "user", "content": "What is two and two?"}],
    }
)


async def main() -> None:
    """Asks three times."""
    engine = ScriptedInferenceEngine({"": answer("Four.", thinking="Two and two.")})
    service = create_service(engine, Settings())
    await service.client.start()
    caller = Caller(request_id="req_1")
    try:
        whole = await service.create(decode_messages(BODY), caller)
        print([block["type"] for block in msgspec.json.decode(whole.body)["content"]], whole.engine)
        async for events in await service.stream(decode_messages(BODY), caller):
            print(events.decode(), end="")
        print((await service.count_tokens(decode_count(BODY), caller)).input_tokens)
    finally:
        await service.aclose()


if __name__ == "__main__":
    asyncio.run(main())
