"""The check before the measurement: what is measured is the whole answer, not a fast error."""

from __future__ import annotations

import http.client

import msgspec

from bench import bodies, canned
from bench.canned import Answer
from bench.processes import BenchError
from dragoman.wire.sse import SSEDecoder

FIELDS = {"thinking_delta": "thinking", "text_delta": "text", "input_json_delta": "partial_json"}
SECONDS = 60


def check_answer(port: int, path: str, form: str, answer: Answer, *, copied: bool) -> None:
    """Raises unless a stream holds every canned token in its kind, or is the engine's bytes if copied."""
    found = asked(port, path, bodies.body("1KB", form))
    if copied:
        if found != b"".join(canned.events(answer)):
            raise BenchError(f"the answer `{answer.name}` is not the engine's, byte for byte")
    elif said(found) != expected(answer):
        raise BenchError(f"the answer `{answer.name}` does not hold all canned tokens")


def asked(port: int, path: str, body: bytes) -> bytes:
    """The body of a good answer to one request."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    headers = {"content-type": "application/json", "anthropic-version": "2023-06-01", "x-api-key": "any-word"}
    try:
        connection.request("POST", path, body, headers)
        answer = connection.getresponse()
        content = answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise BenchError(f"did not answer: {error}") from error
    finally:
        connection.close()
    if answer.status != 200:
        raise BenchError(f"answered {answer.status}: {content[:200].decode(errors='replace')}")
    return content


def said(stream: bytes) -> dict[str, str]:
    """The texts of a Messages stream by kind."""
    found = dict.fromkeys(FIELDS.values(), "")
    for event in SSEDecoder().feed(stream):
        delta = msgspec.json.decode(event.data).get("delta", {})
        if field := FIELDS.get(delta.get("type", "")):
            found[field] += delta[field]
    return found


def expected(answer: Answer) -> dict[str, str]:
    """A canned answer's texts by kind."""
    calls = ("".join(canned.call_pieces(number, answer.call)) for number in range(answer.calls))
    return {
        "thinking": "".join(canned.words(answer.thinking)),
        "text": "".join(canned.words(answer.text)),
        "partial_json": "".join(calls),
    }
