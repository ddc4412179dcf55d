"""Context overflows in the words of the engines, read into numbers."""

from __future__ import annotations

import re

import msgspec


class Overflow(msgspec.Struct, frozen=True):
    """A request that passes the context: tokens of the prompt and of the context, None where not told."""

    prompt: int | None = None
    maximum: int | None = None


_CODES = frozenset({"context_length_exceeded", "exceed_context_size_error", "context_window_exceeded"})
_ABOUT = re.compile(
    r"context (?:length|size|window|limit)|maximum (?:model|input|allowed|prompt) length|prompt is too long"
    r"|max_model_len|completion tokens",
    re.IGNORECASE,
)
_BEYOND = re.compile(
    r"exceed|longer than|greater than|too (?:long|large)|however|you requested|shorter", re.IGNORECASE
)
_MAXIMUM = (
    r"context length is only (\d+)",
    r"maximum context length (?:is|of) (\d+)",
    r"maximum model length of (\d+)",
    r"max_model_len=(\d+)",
    r"at most (\d+) completion tokens",
    r"available context size \((\d+)",
    r"context length \((\d+)",
    r"maximum allowed length \((\d+)",
    r"tokens > (\d+) maximum",
    r"configured limit of (\d+)",
    r"maximum prompt length is (\d+)",
)
_PROMPT = (
    r"passed (\d+) input tokens",
    r"(\d+) tokens from the input",
    r"your (?:messages|request|prompt) (?:resulted in|has|contains)(?: at least)? (\d+)(?![\d ]*char)",
    r"prompt \(length (\d+)\)",
    r"input(?: length)? \((\d+) tokens\)",
    r"request \((\d+) tokens\)",
    r"too long: (\d+) tokens",
    r"request contains (\d+) tokens",
)
_TOTAL = (r"requested(?: a total of)? (\d+) tokens",)
_ANSWER = (r"(\d+) in the completion", r"(\d+) tokens for the completion", r"requested (\d+) output tokens")


def find_overflow(message: str, codes: tuple[object, ...]) -> Overflow | None:
    """The overflow that an error speaks of, by its code, type or words; None if it is another error."""
    plain = re.sub(r"(?<=\d),(?=\d{3})", "", message)
    if not _CODES.intersection(code for code in codes if isinstance(code, str)) and not (
        _ABOUT.search(plain) and _BEYOND.search(plain)
    ):
        return None
    prompt, total, answer = _number(_PROMPT, plain), _number(_TOTAL, plain), _number(_ANSWER, plain)
    if prompt is None and total is not None:
        prompt = total - (answer or 0)
    return Overflow(prompt, _number(_MAXIMUM, plain))


def _number(patterns: tuple[str, ...], text: str) -> int | None:
    for pattern in patterns:
        found = re.search(pattern, text, re.IGNORECASE)
        if found:
            return int(found[1])
    return None
