"""Parameters: limits, stops, structured output, and those that nothing here can honour."""

from __future__ import annotations

from dragoman.errors import InvalidRequestError, ThreadUnsupportedError
from dragoman.translate.options import NEWER_VERSION, Findings, RequestOptions
from dragoman.translate.raw import object_text
from dragoman.wire.anthropic.context import ThreadContinue, UnknownEdit
from dragoman.wire.anthropic.request import CountTokensRequest, MessagesRequest
from dragoman.wire.openai import JsonFormat

# Engines keep counts in 32 bits; no context and no vocabulary is larger.
_LARGEST = 2**31 - 1


def refuse_unavailable(request: CountTokensRequest) -> None:
    """Refuses what would change the meaning of the request if it were ignored."""
    if isinstance(request.thread, ThreadContinue):
        raise ThreadUnsupportedError(
            "thread: only an answer can continue a thread; send the whole conversation",
            details={"unsupported": ["thread"]},
        )
    if request.compaction is not None:
        raise InvalidRequestError("compaction: not available on this server")
    if request.mcp_servers:
        raise InvalidRequestError(
            "mcp_servers: MCP servers are not available; declare their tools as custom tools"
        )
    if isinstance(request.container, dict) and request.container.get("skills"):
        raise InvalidRequestError("container.skills: skills are not available on this server")
    for number, message in enumerate(request.messages):
        if message.output_config is not None and message.output_config.format is not None:
            raise InvalidRequestError(
                f"messages.{number}.output_config.format: a format can only be set for the whole request"
            )


def refuse_misplaced(request: CountTokensRequest, options: RequestOptions) -> None:
    """In strict mode, refuses what the caller's version of the API does not take where it stands."""
    if not options.strict:
        return
    if isinstance(request, MessagesRequest) and options.api_version >= NEWER_VERSION:
        for name in ("temperature", "top_p", "top_k"):
            if getattr(request, name) is not None:
                raise InvalidRequestError(f"{name}: Extra inputs are not permitted")
    for number, message in enumerate(request.messages):
        for name in ("clear_at", "output_config"):
            if message.role != "system" and getattr(message, name) is not None:
                raise InvalidRequestError(f"messages.{number}.{name}: only permitted on system messages")


def note_unknown_edits(request: CountTokensRequest, findings: Findings) -> None:
    """Notes the edits of the context whose type nobody here knows."""
    asked = request.context_management
    for edit in (asked.edits if asked is not None else None) or ():
        if isinstance(edit, UnknownEdit):
            findings.note("context edits of an unknown type, which have no effect")


def max_tokens_of(request: MessagesRequest, options: RequestOptions) -> int | None:
    """The limit for the engine; None where it then fills the context and the request asks for more.

    0 warms the cache only: no engine takes it, so it is sent as 1 and what comes is not delivered.
    """
    capabilities = options.capabilities
    length = capabilities.context_length
    if capabilities.fills_context and length is not None and request.max_tokens >= length:
        return None
    return min(max(request.max_tokens, 1), _LARGEST)


def stops_of(request: MessagesRequest) -> list[str]:
    """The stop sequences, any number of them."""
    stops = request.stop_sequences or []
    for number, stop in enumerate(stops):
        if not stop.strip():
            raise InvalidRequestError(
                f"stop_sequences.{number}: each stop sequence must contain non-whitespace"
            )
    return stops


def top_k_of(request: MessagesRequest) -> int | None:
    """The cut of the sampling; 0 is "no cut", which engines spell in different ways."""
    return min(request.top_k, _LARGEST) if request.top_k else None


def format_of(request: CountTokensRequest, options: RequestOptions) -> JsonFormat | None:
    """The structured output that the request asks for, its schema byte for byte."""
    if request.output_config is None or request.output_config.format is None:
        return None
    if not options.capabilities.structured_output:
        raise InvalidRequestError(
            f"output_config.format: the engine of the model {options.model!r} has no structured output"
        )
    schema = request.output_config.format.schema
    path = "output_config.format.schema"
    object_text(schema, path)
    return JsonFormat(schema=schema, path=path)
