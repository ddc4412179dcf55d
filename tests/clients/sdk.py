"""What the tests ask of an official SDK, whichever language it is in: values in, values out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any, Protocol

API_KEY = "test-key"
# What a stream's reading needs of a request; no server sees it.
ANY_REQUEST = {"model": "m", "max_tokens": 1024, "messages": [{"role": "user", "content": "Hi"}]}


class SDKError(Exception):
    """What an SDK threw: the error class's name, the HTTP status, the API's type and the whole body."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(f"{error['name']}: {error.get('message', '')}")
        self.name: str = error["name"]
        self.message: str = error.get("message", "")
        self.status: int | None = error.get("status")
        self.type: str | None = error.get("type")
        self.request_id: str | None = error.get("request_id")
        self.body: Any = error.get("body")


class SDK(Protocol):
    """One official SDK. Every operation raises `SDKError` with what the SDK threw.

    Operations, each with the request's fields as `params`, and what they answer:

    - `create`: message, request_id, headers
    - `stream`: message, request_id, text, thinking, events (the types, in order)
    - `raw_stream`: events (as they came, without an accumulator), headers
    - `abandon`: text up to the moment where the client went away
    - `tool_runner`: message, calls (what the `get_weather` tool was called with), sent (the bodies); `stream`
      and `thread` as the SDK takes them, and `more_tools` beside its own
    - `edited`: message, streamed and counted of a beta request
    - `parse`: message, parsed (of the `shape` that `shapes` has by that name), sent (the bodies); `stream` as
      the SDK takes it; of TypeScript also a `json_schema` in place of the shape
    - `files`: uploaded, second, listed and some (ids), retrieved, request_id, content, deleted
    - `batches`: created, request_id, ended, listed (ids), results, deleted
    - `cancel_batch`: canceled
    - `count_tokens`, `models`, `model`: what the API answers
    """

    name: str

    def call(
        self, op: str, base_url: str, params: object = None, *, api_key: str = API_KEY, max_retries: int = 0
    ) -> dict[str, Any]:
        """The result of one operation."""
        ...

    def read_streams(self, streams: Iterable[bytes]) -> list[dict[str, Any]]:
        """The final message that the SDK makes of each stream of bytes: `{"ok": ...}` or `{"error": ...}`."""
        ...


def blocks(message: dict[str, Any]) -> list[dict[str, Any]]:
    """The content of a message as the server sent it: what the SDK's own parsing adds is left out."""
    return [
        {key: value for key, value in block.items() if key not in {"parsed_output", "parsed", "citations"}}
        for block in message["content"]
    ]


def eventually(condition: Callable[[], bool], seconds: float = 5.0) -> bool:
    """Whether the condition comes true within the time; asks often."""
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True
