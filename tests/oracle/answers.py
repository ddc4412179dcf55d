"""What each part of an answer holds here, as data for the docs; a test holds it against the structs.

Which engine's answer gives a part is no data: the engines' wires are played for it (`produced`).
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Source = Literal["translated", "made here", "translated, made here", "never"]


class Part(NamedTuple):
    """One field or type of an answer, what it holds, and who makes it: the engine, Dragoman, or both."""

    name: str
    what: str
    here: Source = "translated"


MESSAGE: tuple[Part, ...] = (
    Part("id", "`msg_` and what is unique; the same in every event", "made here"),
    Part("type", "`message`", "made here"),
    Part("role", "`assistant`", "made here"),
    Part("model", "the name that the request asked for", "made here"),
    Part("content", "what the model produced, in order"),
    Part("stop_reason", "see below; null only at the start of a stream"),
    Part("stop_sequence", "the sequence that matched, else null"),
    Part("stop_details", "always null: engines do not say why they refuse", "never"),
    Part("usage", "see below"),
    Part("container", "always null: there are no containers", "never"),
    Part("diagnostics", "always null: engines do not say why a cache missed", "never"),
    Part(
        "context_management",
        "`applied_edits`: what was cleared and how many tokens it had; when the request had one",
        "made here",
    ),
)

USAGE: tuple[Part, ...] = (
    Part("input_tokens", "the engine's count of the prompt without what came from its cache"),
    Part("output_tokens", "the engine's count of what it sampled, thinking included"),
    Part("cache_read_input_tokens", "the prompt's tokens that the engine found in its cache"),
    Part(
        "cache_creation_input_tokens", "0: engines do not count what they write to their cache", "made here"
    ),
    Part("cache_creation", "always null: the same by lifetime", "never"),
    Part("output_tokens_details", "`thinking_tokens`, where the engine counts them"),
    Part(
        "server_tool_use",
        "how often tools of the web gave something; null where no tool that runs here is declared",
        "made here",
    ),
    Part("service_tier", "`standard`", "made here"),
    Part("speed", "`standard`", "made here"),
    Part("inference_geo", "always null: the engine runs where it runs", "never"),
)

STOP_REASONS: tuple[Part, ...] = (
    Part("end_turn", "the model ended its turn"),
    Part("max_tokens", "the limit of the request was reached"),
    Part("stop_sequence", "one of the request's sequences came; `stop_sequence` says which"),
    Part("tool_use", "the answer holds calls for the client to run"),
    Part("model_context_window_exceeded", "the model's context was full before the limit of the request"),
    Part("refusal", "the engine's content filter ended the answer"),
    Part(
        "pause_turn",
        "tools ran here as often as the limit of rounds allows; sent back, the turn goes on",
        "made here",
    ),
)

BLOCKS: tuple[Part, ...] = (
    Part("text", "text; `citations` is null"),
    Part("thinking", "thinking with its signature; empty where the request asked to omit it"),
    Part("tool_use", "a call; an `input` cut by the limit holds the members that were complete"),
    Part("server_tool_use", "a call that runs here; cut by the limit, it has no result"),
    Part(
        "web_search_tool_result",
        "hits, or an error's code; what pages say is sealed in `encrypted_content`",
        "made here",
    ),
    Part("web_fetch_tool_result", "a page as a text document, or an error's code", "made here"),
    Part(
        "tool_search_tool_result",
        "references to the deferred tools that were found, or an error's code",
        "made here",
    ),
)

EVENTS: tuple[Part, ...] = (
    Part(
        "message_start",
        "the message without content; its input count may be an estimate, never 0",
        "made here",
    ),
    Part("ping", "after silence, while the engine reads the prompt or a call is held back", "made here"),
    Part("content_block_start", "one block at a time, with indexes from 0 without gaps", "made here"),
    Part("content_block_delta", "more of the open block; see the table of deltas"),
    Part("content_block_stop", "every block that was started is stopped", "made here"),
    Part("message_delta", "the stop reason and the full usage, which replaces that of the start"),
    Part("message_stop", "the last event of an answer", "made here"),
    Part("error", "the last event of a stream that failed: the envelope of errors", "translated, made here"),
)

DELTAS: tuple[Part, ...] = (
    Part("text_delta", "a piece of text"),
    Part("thinking_delta", "a piece of thinking"),
    Part("input_json_delta", "a piece of a call's arguments, as the model wrote them"),
    Part("signature_delta", "the signature, once, before the end of a thinking block", "made here"),
)

ERRORS: tuple[Part, ...] = (
    Part(
        "invalid_request_error",
        "400, 405, 415: the request; the message begins with the path of the field",
        "translated, made here",
    ),
    Part("authentication_error", "401: no key, or a wrong one", "made here"),
    Part("billing_error", "never sent: nothing is billed", "never"),
    Part("permission_error", "403: this caller may not do this", "made here"),
    Part("not_found_error", "404: no such path or model", "made here"),
    Part("conflict_error", "409: the request meets a state that forbids it", "made here"),
    Part("request_too_large", "413: the body passes the limit", "translated, made here"),
    Part(
        "rate_limit_error",
        "429: too many requests, here or at the engine; with `retry-after`",
        "translated, made here",
    ),
    Part("timeout_error", "408: the body took too long; 504: the engine did", "translated, made here"),
    Part(
        "api_error",
        "500: a fault here, or an answer of the engine that cannot be read",
        "translated, made here",
    ),
    Part("not_supported", "501: not to be had on this engine", "made here"),
    Part("overloaded_error", "529: the engine is full or unreachable", "translated, made here"),
)

KINDS: dict[str, tuple[Part, ...]] = {
    "message": MESSAGE,
    "usage": USAGE,
    "stop_reason": STOP_REASONS,
    "block": BLOCKS,
    "event": EVENTS,
    "delta": DELTAS,
    "error": ERRORS,
}

_KNOWN = ("llamacpp", "vllm", "sglang", "ollama", "transformers")
_NO_FILTER = "it has no content filter"
_NO_STATUS = "it has no status for it"
_NOT_APART = "it does not count thinking apart"

# Why an engine's answer never gives a part that others' do: (kind and name, engine) -> the reason.
ABSENT: dict[tuple[str, str], str] = {
    **dict.fromkeys([("stop_reason:refusal", engine) for engine in _KNOWN], _NO_FILTER),
    ("usage:cache_read_input_tokens", "ollama"): "it does not say what came from its cache",
    ("usage:cache_read_input_tokens", "transformers"): "it keeps no prompt, or does not say so",
    **dict.fromkeys(
        [
            ("usage:output_tokens_details", engine)
            for engine in ("llamacpp", "vllm", "ollama", "transformers")
        ],
        _NOT_APART,
    ),
    ("usage:output_tokens_details", "sglang"): "its own count is 0 for an answer that thinks",
    **dict.fromkeys(
        [
            (f"error:{kind}", engine)
            for kind in ("request_too_large", "rate_limit_error", "timeout_error")
            for engine in _KNOWN
        ],
        _NO_STATUS,
    ),
}
