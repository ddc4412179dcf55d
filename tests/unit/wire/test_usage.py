"""The sum of several answers' counts."""

from __future__ import annotations

from dragoman.wire.openai import ChatUsage, CompletionTokensDetails, PromptTokensDetails, total_usage


def test_counts_are_summed_with_what_only_some_engines_tell() -> None:
    first = ChatUsage(7, 2, PromptTokensDetails(5), CompletionTokensDetails(1))
    bare, silent = ChatUsage(3, 1), ChatUsage(1, 1, PromptTokensDetails(), CompletionTokensDetails())
    assert total_usage([first, bare, silent, first]) == ChatUsage(
        18, 6, PromptTokensDetails(10), CompletionTokensDetails(2)
    )
    assert total_usage([bare, silent]) == ChatUsage(4, 2)


def test_a_sum_that_would_be_short_is_none() -> None:
    assert total_usage([ChatUsage(3, 1), None]) is None
    assert total_usage([]) is None
