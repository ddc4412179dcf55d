"""From the engine's finish reason to the client's stop reason."""

from __future__ import annotations

import pytest

from dragoman.errors import EngineFaultError
from dragoman.translate.finish import Finish, Stop, context_is_full, read_finish, stop_of
from dragoman.wire.openai import ChatUsage


def stop(
    reason: str, matched: str | None = None, calls: int = 0, cut_calls: int = 0, full: bool = False
) -> Stop:
    """The stop of an answer."""
    return stop_of(read_finish(reason), matched, calls=calls, cut_calls=cut_calls, context_full=full)


@pytest.mark.parametrize("reason", ["stop", "eos_token", "tool_calls", "function_call"])
def test_what_was_said_decides_and_not_the_word_for_a_normal_end(reason: str) -> None:
    assert stop(reason) == ("end_turn", None)
    assert stop(reason, calls=2) == ("tool_use", None)
    assert stop(reason, "END") == ("stop_sequence", "END")


def test_complete_calls_outweigh_a_matched_string_and_cut_ones_do_not() -> None:
    assert stop("stop", "END", calls=1) == ("tool_use", None)
    assert stop("stop", "END", cut_calls=1) == ("stop_sequence", "END")
    assert stop("stop", "END", calls=1, cut_calls=1) == ("stop_sequence", "END")


@pytest.mark.parametrize(("calls", "cut_calls"), [(0, 0), (1, 0), (0, 1), (2, 1)])
def test_length_is_length_whatever_was_said(calls: int, cut_calls: int) -> None:
    assert stop("length", None, calls, cut_calls) == ("max_tokens", None)
    assert stop("length", None, calls, cut_calls, full=True) == ("model_context_window_exceeded", None)


@pytest.mark.parametrize("calls", [0, 1])
def test_a_filter_is_a_refusal(calls: int) -> None:
    assert stop("content_filter", calls=calls) == ("refusal", None)


@pytest.mark.parametrize(
    "reason", ["abort", "error", "cancelled", "insufficient_system_resource", "", "x" * 999]
)
def test_anything_else_is_an_engine_fault_that_only_the_log_explains(reason: str) -> None:
    with pytest.raises(EngineFaultError) as caught:
        read_finish(reason)
    assert caught.value.message == "The engine broke off its answer."
    assert repr(reason[:100]) in caught.value.log_detail
    assert len(caught.value.log_detail) < 150


@pytest.mark.parametrize(
    ("prompt", "tokens", "max_tokens", "context", "full"),
    [
        (90, 10, 32000, 100, True),
        (90, 10, 32000, None, True),
        (0, 10, 32000, 100, True),  # the engine did not tell the prompt
        (900, 40, 32000, 1000, True),  # engines end a little early
        (90, 10, 32000, 1000, False),  # a limit of the engine's own
        (90, 10, 10, 100, False),
        (90, 0, 10, 100, False),  # the engine did not count
    ],
)
def test_the_context_ended_first(
    prompt: int, tokens: int, max_tokens: int, context: int | None, full: bool
) -> None:
    assert context_is_full(ChatUsage(prompt, tokens), max_tokens, context) is full


def test_without_counts_nothing_is_said_about_the_context() -> None:
    assert context_is_full(None, 10, 100) is False


def test_every_meaning_has_a_word() -> None:
    assert {read_finish(word) for word in ("stop", "length", "content_filter")} == set(Finish)
