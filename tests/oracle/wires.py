"""What engines say on their own wire, scene by scene, in the shapes of their chunks.

The chunks of llama.cpp, vLLM, SGLang and transformers have the shapes that real servers were recorded with,
which served a thinking model and were told to count cached tokens. Those of Ollama and of plain servers, and
all errors but those of transformers, are as documented. A scene is one answer, or its rounds where tools of
this server are called.
"""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from dragoman.engines.dialects.base import Reply

Chunk = dict[str, Any]
MAX_TOKENS = 1024
CONTEXT = 32768
STOP = "END"
# What only an answer in rounds can hold.
OF_ROUNDS = (
    "block:server_tool_use",
    "block:web_",
    "block:tool_search_",
    "stop_reason:pause_turn",
    "usage:server_tool_use",
)


class Shapes(NamedTuple):
    """One chunk of each kind, as an engine writes it."""

    role: Chunk
    thinking: Chunk
    call: Chunk
    finish: Chunk
    usage: Chunk


class Scene(NamedTuple):
    """An answer: the chunks of each round; the stop strings of the request; the things that it tells of."""

    rounds: list[list[Chunk]]
    stop: tuple[str, ...] = ()
    about: tuple[str, ...] = ("",)


_RECORDED: dict[str, list[Chunk]] = msgspec.json.decode(
    (Path(__file__).parent.parent / "unit/wire/engine_chunks.json").read_bytes()
)["chunks"]


def _plain(delta: Chunk, finish: str | None = None) -> Chunk:
    choices = [{"index": 0, "delta": delta, "finish_reason": finish}]
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": "m", "choices": choices}


_WHOLE_CALL: Chunk = {
    "index": 0,
    "id": "call_1",
    "type": "function",
    "function": {"name": "f", "arguments": "{}"},
}


def _documented(thinking: str, arguments: str, **details: Any) -> Shapes:
    call = _WHOLE_CALL | {"function": {"name": "f", "arguments": arguments}}
    counts = {"prompt_tokens": 194, "completion_tokens": 49, "total_tokens": 243, **details}
    return Shapes(
        role=_plain({"role": "assistant", "content": ""}),
        thinking=_plain({"role": "assistant", "content": "", thinking: "The"}),
        call=_plain({"role": "assistant", "content": "", "tool_calls": [call]}),
        finish=_plain({"role": "assistant", "content": ""}, "stop"),
        usage=_plain({}) | {"choices": [], "usage": counts},
    )


SHAPES: dict[str, Shapes] = {
    **{name: Shapes(*chunks) for name, chunks in _RECORDED.items()},
    # a call comes whole
    "ollama": _documented("reasoning", "{}"),
    "transformers": Shapes(
        role=_plain({"role": "assistant"}),
        thinking=_plain({"reasoning_content": "The"}),
        call=_plain({"tool_calls": [_WHOLE_CALL]}),
        finish=_plain({}, "stop"),
        usage={"usage": {"prompt_tokens": 194, "completion_tokens": 49, "total_tokens": 243}},
    ),
    "generic": _documented(
        "reasoning_content",
        "{",
        prompt_tokens_details={"cached_tokens": 193},
        completion_tokens_details={"reasoning_tokens": 30},
    ),
}
# The word of an answer that a filter ended, where an engine has one.
FILTERED = {"generic": "content_filter"}
_THOUGHTS = ("reasoning", "reasoning_content")


def _said(shape: Chunk, **members: Any) -> Chunk:
    """A chunk of a shape with these members in its delta."""
    chunk = deepcopy(shape)
    chunk["choices"][0]["delta"].update(members)
    return chunk


def _text(engine: str, words: str) -> Chunk:
    shape = deepcopy(SHAPES[engine].thinking)
    for name in _THOUGHTS:
        shape["choices"][0]["delta"].pop(name, None)
    return _said(shape, content=words)


def _call(engine: str, name: str, arguments: str) -> list[Chunk]:
    """The pieces of a call, as many as the engine makes of one."""
    first = deepcopy(SHAPES[engine].call)
    call = first["choices"][0]["delta"]["tool_calls"][0]
    is_whole = call["function"]["arguments"] != "{"
    call["function"] = {"name": name, "arguments": arguments if is_whole else arguments[:1]}
    if is_whole:
        return [first]
    return [first, _said(first, tool_calls=[{"index": 0, "function": {"arguments": arguments[1:]}}])]


def _finish(engine: str, reason: str, matched: str | None = None) -> Chunk:
    """The last chunk with a choice; where the engine says which string matched, it does."""
    chunk = deepcopy(SHAPES[engine].finish)
    choice = chunk["choices"][0]
    choice["finish_reason"] = reason
    if engine == "llamacpp":
        chunk["__verbose"] = {"stopping_word": matched or ""}
    if "stop_reason" in choice:
        choice["stop_reason"] = matched
    if "matched_stop" in choice:
        # the number of the token that ends a turn, where no string matched
        choice["matched_stop"] = matched or 151645
    return chunk


def _usage(engine: str, prompt: int, sampled: int) -> Chunk:
    chunk = deepcopy(SHAPES[engine].usage)
    chunk["usage"] |= {
        "prompt_tokens": prompt,
        "completion_tokens": sampled,
        "total_tokens": prompt + sampled,
    }
    return chunk


def _answer(
    engine: str,
    *said: Chunk,
    finish: str = "stop",
    matched: str | None = None,
    counts: tuple[int, int] = (194, 49),
) -> list[Chunk]:
    """One answer, from the role to the counts."""
    first = deepcopy(SHAPES[engine].role)
    if engine == "llamacpp":
        first["prompt_progress"] = {"total": counts[0], "cache": 193, "processed": counts[0], "time_ms": 1}
    end, usage = _finish(engine, finish, matched), _usage(engine, *counts)
    return [first, *said, *([end, usage] if "choices" in usage else [end | usage])]


def scenes(engine: str) -> dict[str, Scene]:
    """Everything that an engine of that kind can say."""
    text = _text(engine, "Hi.")

    def calling(name: str, arguments: str) -> list[Chunk]:
        return _answer(engine, *_call(engine, name, arguments), finish="tool_calls")

    def once(*said: Chunk, **how: Any) -> Scene:
        return Scene([_answer(engine, *said, **how)])

    def in_rounds(*rounds: list[Chunk]) -> Scene:
        return Scene(list(rounds), about=OF_ROUNDS)

    search = calling("web_search", '{"query": "a"}')
    found = {
        "text": once(text),
        "thinking": once(SHAPES[engine].thinking),
        "call": once(*_call(engine, "f", '{"q": "a"}'), finish="tool_calls"),
        "cut": once(text, finish="length", counts=(194, MAX_TOKENS)),
        "full": once(text, finish="length", counts=(CONTEXT - 100, 100)),
        "stopped": Scene([_stopped(engine)], (STOP,), about=("stop_reason:", "message:stop")),
        "searching": in_rounds(search, _answer(engine, text)),
        "fetching": in_rounds(calling("web_fetch", '{"url": "https://a.example/"}'), _answer(engine, text)),
        "finding": in_rounds(calling("tool_search_tool_bm25", '{"query": "a"}'), _answer(engine, text)),
        "pausing": in_rounds(search, search, search),
        "broken": once(text, {"error": ERROR_IN_STREAM[engine]}),
    }
    if engine in FILTERED:
        found["filtered"] = once(text, finish=FILTERED[engine])
    return found


def _stopped(engine: str) -> list[Chunk]:
    """An answer that a stop string ends: the engine leaves the string out, or knows of none and goes on."""
    if engine in {"ollama", "transformers", "generic"}:
        return _answer(engine, _text(engine, f"Hi. {STOP} and more"))
    return _answer(engine, _text(engine, "Hi. "), matched=STOP)


def _error(kind: str, code: Any, message: str = "no") -> Chunk:
    return {"message": message, "type": kind, "param": None, "code": code}


ERROR_IN_STREAM: dict[str, Any] = {
    "llamacpp": {"code": 500, "message": "no", "type": "server_error"},
    "vllm": _error("InternalServerError", 500),
    "sglang": {"object": "error", **_error("InternalServerError", 500)},
    "ollama": _error("api_error", None),
    "transformers": "no",
    "generic": _error("server_error", None),
}


def _reply(status: int, error: Any) -> Reply:
    return Reply(status, msgspec.json.encode(error))


def _numbered(*kinds: tuple[int, str]) -> list[Reply]:
    return [_reply(status, {"error": _error(kind, status)}) for status, kind in kinds]


# How engines refuse a request or fail at it before they answer.
REFUSALS: dict[str, list[Reply]] = {
    "llamacpp": _numbered(
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (404, "not_found_error"),
        (500, "server_error"),
        (503, "unavailable_error"),
    ),
    "vllm": [
        *_numbered((400, "BadRequestError"), (404, "NotFoundError"), (500, "InternalServerError")),
        _reply(401, {"error": "Unauthorized"}),
        # while its parallel ranks change
        _reply(503, {"error": "scaling"}),
    ],
    "sglang": [
        _reply(status, {"object": "error", **_error(kind, status)})
        for status, kind in (
            (400, "BadRequestError"),
            (401, "Unauthorized"),
            (500, "InternalServerError"),
            (503, "ServiceUnavailable"),
        )
    ],
    "ollama": [
        _reply(status, {"error": _error(kind, None)})
        for status, kind in (
            (400, "invalid_request_error"),
            (404, "not_found_error"),
            (500, "api_error"),
            (503, "api_error"),
        )
    ],
    "transformers": [
        _reply(422, {"detail": "Unexpected fields in the request: {'x'}"}),
        _reply(400, {"detail": "Server is pinned to 'a'; requested 'b'."}),
        Reply(500, b"Internal Server Error"),
        _reply(503, {"error": "CB worker is dead and cannot accept request 1: no"}),
    ],
    "generic": _numbered(
        *((status, "error") for status in (400, 401, 403, 404, 408, 413, 422, 429, 500, 503, 504))
    ),
}


def whole(chunks: list[Chunk]) -> Chunk:
    """The answer that the same engine gives in one piece: the members of its chunks, joined."""
    message: Chunk = {"role": "assistant"}
    ending: Chunk = {}
    counts: Chunk = {}
    for chunk in chunks:
        counts = chunk.get("usage") or counts
        for choice in chunk["choices"]:
            ending = {name: value for name, value in choice.items() if name != "delta"}
            for name, value in choice["delta"].items():
                _join(message, name, value)
    return {"id": "chatcmpl-1", "model": "m", "choices": [ending | {"message": message}], "usage": counts}


def _join(message: Chunk, name: str, value: Any) -> None:
    if isinstance(value, str) and name != "role":
        message[name] = (message.get(name) or "") + value
    elif isinstance(value, list) and name in message:
        message[name][0]["function"]["arguments"] += value[0]["function"]["arguments"]
    elif isinstance(value, list):
        message[name] = deepcopy(value)
