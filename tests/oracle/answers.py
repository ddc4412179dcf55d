"""What each part of an answer holds here, as data for the docs; a test holds it against the structs."""

from __future__ import annotations

from typing import NamedTuple


class Part(NamedTuple):
    """One field or type of an answer and what it holds."""

    name: str
    what: str


MESSAGE: tuple[Part, ...] = (
    Part("id", "`msg_` and what is unique; the same in every event"),
    Part("type", "`message`"),
    Part("role", "`assistant`"),
    Part("model", "the name that the request asked for"),
    Part("content", "what the model produced, in order"),
    Part("stop_reason", "see below; null only at the start of a stream"),
    Part("stop_sequence", "the sequence that matched, else null"),
    Part("stop_details", "always null: engines do not say why they refuse"),
    Part("usage", "see below"),
    Part("container", "always null: there are no containers"),
    Part("diagnostics", "always null: engines do not say why a cache missed"),
    Part(
        "context_management",
        "`applied_edits`: what was cleared and how many tokens it had; when the request had one",
    ),
)

USAGE: tuple[Part, ...] = (
    Part("input_tokens", "the engine's count of the prompt without what came from its cache"),
    Part("output_tokens", "the engine's count of what it sampled, thinking included"),
    Part("cache_read_input_tokens", "the prompt's tokens that the engine found in its cache"),
    Part("cache_creation_input_tokens", "0: engines do not count what they write to their cache"),
    Part("cache_creation", "always null: the same by lifetime"),
    Part("output_tokens_details", "`thinking_tokens`, where the engine counts them"),
    Part(
        "server_tool_use",
        "how often tools of the web gave something; null where no tool that runs here is declared",
    ),
    Part("service_tier", "`standard`"),
    Part("speed", "`standard`"),
    Part("inference_geo", "always null: the engine runs where it runs"),
)

STOP_REASONS: tuple[Part, ...] = (
    Part("end_turn", "the model ended its turn"),
    Part("max_tokens", "the limit of the request was reached"),
    Part("stop_sequence", "one of the request's sequences came; `stop_sequence` says which"),
    Part("tool_use", "the answer holds calls for the client to run"),
    Part("model_context_window_exceeded", "the model's context was full before the limit of the request"),
    Part("refusal", "the engine's content filter ended the answer"),
    Part("pause_turn", "tools ran here as often as the limit of rounds allows; sent back, the turn goes on"),
)

BLOCKS: tuple[Part, ...] = (
    Part("text", "text; `citations` is null"),
    Part("thinking", "thinking with its signature; empty where the request asked to omit it"),
    Part("tool_use", "a call; an `input` cut by the limit holds the members that were complete"),
    Part("server_tool_use", "a call that runs here; cut by the limit, it has no result"),
    Part(
        "web_search_tool_result", "hits, or an error's code; what pages say is sealed in `encrypted_content`"
    ),
    Part("web_fetch_tool_result", "a page as a text document, or an error's code"),
    Part("tool_search_tool_result", "references to the deferred tools that were found, or an error's code"),
)

EVENTS: tuple[Part, ...] = (
    Part("message_start", "the message without content; its input count may be an estimate, never 0"),
    Part("ping", "after silence, while the engine reads the prompt or a call is held back"),
    Part("content_block_start", "one block at a time, with indexes from 0 without gaps"),
    Part("content_block_delta", "`text_delta`, `thinking_delta`, `input_json_delta`, `signature_delta`"),
    Part("content_block_stop", "every block that was started is stopped"),
    Part("message_delta", "the stop reason and the full usage, which replaces that of the start"),
    Part("message_stop", "the last event of an answer"),
    Part("error", "the last event of a stream that failed: the envelope of errors"),
)

ERRORS: tuple[Part, ...] = (
    Part(
        "invalid_request_error", "400, 405, 415: the request; the message begins with the path of the field"
    ),
    Part("authentication_error", "401: no key, or a wrong one"),
    Part("billing_error", "never sent: nothing is billed"),
    Part("permission_error", "403: this caller may not do this"),
    Part("not_found_error", "404: no such path or model"),
    Part("conflict_error", "409: the request meets a state that forbids it"),
    Part("request_too_large", "413: the body passes the limit"),
    Part("rate_limit_error", "429: too many requests, here or at the engine; with `retry-after`"),
    Part("timeout_error", "408: the body took too long; 504: the engine did"),
    Part("api_error", "500: a fault here, or an answer of the engine that cannot be read"),
    Part("not_supported", "501: not to be had on this engine"),
    Part("overloaded_error", "529: the engine is full or unreachable"),
)
