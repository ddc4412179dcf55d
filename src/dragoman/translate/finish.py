"""Why an answer ended: from the engine's finish reason to the client's stop reason."""

from __future__ import annotations

from enum import Enum, auto
from typing import NamedTuple

from dragoman.errors import EngineFaultError
from dragoman.wire.anthropic.response import StopReason
from dragoman.wire.openai import ChatUsage

# Engines end some tokens short of their context: the last slot, a template's suffix, speculative slots.
_CONTEXT_SLACK = 64


class Finish(Enum):
    """How the engine says it ended."""

    STOPPED = auto()
    LENGTH = auto()
    FILTERED = auto()


_FINISHES = {
    "stop": Finish.STOPPED,
    "eos_token": Finish.STOPPED,
    "tool_calls": Finish.STOPPED,
    "function_call": Finish.STOPPED,
    "length": Finish.LENGTH,
    "content_filter": Finish.FILTERED,
}


class Stop(NamedTuple):
    """The `stop_reason` and `stop_sequence` of a message."""

    reason: StopReason
    sequence: str | None = None


def read_finish(reason: str) -> Finish:
    """The meaning of a finish reason.

    Anything that does not say that the answer is whole, cut or filtered ("abort", "error", a word that no
    engine of ours uses) is an engine fault: half an answer must not look like a whole one.
    """
    finish = _FINISHES.get(reason)
    if finish is None:
        raise EngineFaultError(
            "The engine broke off its answer.", log_detail=f"finish reason {reason[:100]!r}"
        )
    return finish


def stop_of(finish: Finish, matched: str | None, *, calls: int, cut_calls: int, context_full: bool) -> Stop:
    """The stop reason of a message with `calls` complete calls and `cut_calls` unfinished ones.

    `matched` is the stop string that ended the answer. Complete calls outweigh it: the client must run
    them. Calls that it cut must not run.
    """
    if finish is Finish.LENGTH:
        return Stop("model_context_window_exceeded" if context_full else "max_tokens")
    if finish is Finish.FILTERED:
        return Stop("refusal")
    if matched is not None and (cut_calls or not calls):
        return Stop("stop_sequence", matched)
    return Stop("tool_use" if calls else "end_turn")


def is_used_up(usage: ChatUsage | None, max_tokens: int, context_length: int | None) -> bool:
    """Whether an answer has all the tokens that it was allowed, whatever the engine says of its end.

    vLLM says `tool_calls` also of a call that `max_tokens` or the end of the context cut.
    """
    if usage is None:
        return False
    return usage.completion_tokens >= max_tokens or _meets_end(usage, context_length, 0)


def is_nearly_used_up(usage: ChatUsage | None, context_length: int | None) -> bool:
    """Whether an answer ended so near the end of the context that an engine may have cut it there."""
    return usage is not None and _meets_end(usage, context_length, _CONTEXT_SLACK)


def _meets_end(usage: ChatUsage, context_length: int | None, slack: int) -> bool:
    total = usage.prompt_tokens + usage.completion_tokens
    return context_length is not None and total + slack >= context_length


def context_is_full(usage: ChatUsage | None, max_tokens: int, context_length: int | None) -> bool:
    """Whether an answer that was cut for its length met the end of the context before its `max_tokens`.

    It has fewer tokens than it was allowed, and the context, where its size is known, is full.
    """
    if usage is None or not 0 < usage.completion_tokens < max_tokens:
        return False
    total = usage.prompt_tokens + usage.completion_tokens
    return context_length is None or not usage.prompt_tokens or total + _CONTEXT_SLACK >= context_length
