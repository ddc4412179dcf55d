"""Token counts for the client: disjoint, cumulative, and estimated only where the engine tells none."""

from __future__ import annotations

from dragoman.wire.anthropic.events import DeltaUsage
from dragoman.wire.anthropic.response import OutputTokensDetails, Usage
from dragoman.wire.openai import ChatUsage

# A token of English, code or JSON has about four bytes.
_BYTES_PER_TOKEN = 4


def usage_estimate(body_len: int) -> int:
    """A request's input tokens out of its body's length in bytes: for the start of a stream, at least 1."""
    return max(1, body_len // _BYTES_PER_TOKEN)


def to_usage(usage: ChatUsage | None, *, input_estimate: int, written: int) -> Usage:
    """The counts of an answer.

    The engine's prompt count includes the cached tokens, the client's does not. What the engine does not
    tell is estimated: the input by `input_estimate`, the output from `written`, the answer's characters.
    """
    if usage is None:
        return Usage(input_tokens=max(1, input_estimate), output_tokens=_estimate(written))
    prompt = usage.prompt_tokens if usage.prompt_tokens > 0 else max(1, input_estimate)
    cached = max(0, min(usage.cached_tokens, prompt))
    details = usage.completion_tokens_details
    thinking = None if details is None else details.reasoning_tokens
    return Usage(
        input_tokens=prompt - cached,
        output_tokens=usage.completion_tokens if usage.completion_tokens > 0 else _estimate(written),
        cache_read_input_tokens=cached,
        output_tokens_details=None
        if thinking is None
        else OutputTokensDetails(thinking_tokens=max(0, thinking)),
    )


def add_usage(total: Usage | None, more: Usage) -> Usage:
    """The counts of several rounds of one message: each reads its whole prompt."""
    if total is None:
        return more
    details = [usage.output_tokens_details for usage in (total, more)]
    known = [part.thinking_tokens for part in details if part is not None]
    return Usage(
        input_tokens=total.input_tokens + more.input_tokens,
        output_tokens=total.output_tokens + more.output_tokens,
        cache_read_input_tokens=total.cache_read_input_tokens + more.cache_read_input_tokens,
        output_tokens_details=OutputTokensDetails(thinking_tokens=sum(known)) if known else None,
    )


def to_delta(usage: Usage) -> DeltaUsage:
    """The same counts for the end of a stream, where they replace those of its start."""
    return DeltaUsage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_creation_input_tokens=usage.cache_creation_input_tokens,
        cache_read_input_tokens=usage.cache_read_input_tokens,
        output_tokens_details=usage.output_tokens_details,
        server_tool_use=usage.server_tool_use,
    )


def _estimate(written: int) -> int:
    return -(-written // _BYTES_PER_TOKEN)
