"""Token counts: disjoint, overriding, never a zero input."""

from __future__ import annotations

import pytest

from dragoman.translate.usage import to_delta, to_usage, usage_estimate
from dragoman.wire.anthropic.response import OutputTokensDetails, Usage
from dragoman.wire.openai import ChatUsage, CompletionTokensDetails, PromptTokensDetails


def usage(prompt: int, sampled: int, *, cached: int | None = None, thinking: int | None = None) -> Usage:
    """The client's counts of an engine's."""
    told = ChatUsage(
        prompt,
        sampled,
        prompt_tokens_details=PromptTokensDetails(cached),
        completion_tokens_details=CompletionTokensDetails(thinking),
    )
    return to_usage(told, input_estimate=7, written=9)


def test_input_and_cached_are_disjoint() -> None:
    assert usage(100, 5, cached=80) == Usage(input_tokens=20, output_tokens=5, cache_read_input_tokens=80)
    assert usage(100, 5) == Usage(input_tokens=100, output_tokens=5)
    assert usage(100, 5, cached=100) == Usage(input_tokens=0, output_tokens=5, cache_read_input_tokens=100)


def test_more_cached_than_there_is_cannot_make_a_negative_count() -> None:
    assert usage(100, 5, cached=120) == Usage(input_tokens=0, output_tokens=5, cache_read_input_tokens=100)


def test_negative_counts_of_an_engine_are_none() -> None:
    assert usage(-10, -5, cached=-3, thinking=-1) == usage(0, 0, cached=0, thinking=0)


def test_thinking_is_told_when_the_engine_tells_it() -> None:
    assert usage(1, 5, thinking=3).output_tokens_details == OutputTokensDetails(thinking_tokens=3)
    assert usage(1, 5, thinking=0).output_tokens_details == OutputTokensDetails(thinking_tokens=0)
    assert usage(1, 5).output_tokens_details is None
    assert to_usage(ChatUsage(1, 5), input_estimate=7, written=9).output_tokens_details is None


def test_what_the_engine_does_not_tell_is_estimated() -> None:
    assert to_usage(None, input_estimate=7, written=9) == Usage(input_tokens=7, output_tokens=3)
    assert to_usage(None, input_estimate=0, written=0) == Usage(input_tokens=1, output_tokens=0)
    assert usage(0, 0) == Usage(input_tokens=7, output_tokens=3)


def test_the_end_of_a_stream_repeats_every_count() -> None:
    delta = to_delta(usage(100, 5, cached=80, thinking=2))
    assert (delta.input_tokens, delta.cache_read_input_tokens, delta.cache_creation_input_tokens) == (
        20,
        80,
        0,
    )
    assert (delta.output_tokens, delta.output_tokens_details) == (5, OutputTokensDetails(thinking_tokens=2))


@pytest.mark.parametrize(("size", "tokens"), [(0, 1), (3, 1), (4, 1), (49_000, 12_250)])
def test_a_body_gives_an_estimate_that_is_never_zero(size: int, tokens: int) -> None:
    assert usage_estimate(size) == tokens
