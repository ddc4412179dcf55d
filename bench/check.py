"""The check before the measurement: what is measured is the whole answer, not a fast error."""

from __future__ import annotations

import urllib.request

import msgspec

from bench import canned
from dragoman.wire.sse import SSEDecoder

FIELDS = {"thinking_delta": "thinking", "text_delta": "text", "input_json_delta": "partial_json"}


def check_answer(port: int) -> None:
    """Raises unless a stream through Dragoman holds every canned token, in its kind."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/messages",
        data=canned.REQUEST,
        headers={"content-type": "application/json", "anthropic-version": "2023-06-01"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - the same
        events = SSEDecoder().feed(answer.read())
    said = dict.fromkeys(FIELDS.values(), "")
    for event in events:
        delta = msgspec.json.decode(event.data).get("delta", {})
        if field := FIELDS.get(delta.get("type", "")):
            said[field] += delta[field]
    if said != expected():
        raise RuntimeError("the answer through dragoman is not the canned one")


def expected() -> dict[str, str]:
    """The canned answer's texts by kind."""
    return {
        "thinking": "".join(canned.words(canned.THINKING_TOKENS)),
        "text": "".join(canned.words(canned.TEXT_TOKENS)),
        "partial_json": "".join("".join(canned.call_pieces(number)) for number in range(canned.CALLS)),
    }
