"""Prompts that extend recorded ids: what is carried over, and why a template would have written otherwise."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragoman.ledger.token_in import Extended, cause_of, common, extended
from dragoman.ledger.values import Sample

END = 9
IDS = st.lists(st.integers(0, 8), max_size=20)


def base(prompt: list[int], sampled: list[int], finish: str = "stop") -> Sample:
    return Sample(engine="e", door="tokens", prompt_ids=prompt, sampled_ids=sampled, finish_reason=finish)


def test_a_prompt_that_begins_with_all_that_was_recorded_is_taken() -> None:
    rendered = [1, 2, END, 3, 4, END, 5, END, 6]
    assert extended(base([1, 2, END, 3], [4, END]), rendered) == Extended(rendered, 6, None)


def test_what_was_sampled_stays_where_the_template_spells_it_otherwise() -> None:
    found = extended(base([1, 2, END, 3], [4, 4, END]), [1, 2, END, 3, 7, END, 5, END, 6])
    assert found == Extended([1, 2, END, 3, 4, 4, END, 5, END, 6], 7, 4)


def test_the_end_of_a_turn_that_was_cut_comes_from_the_template() -> None:
    cut = base([1, 2, END, 3], [4, 4], finish="length")
    rendered = [1, 2, END, 3, 7, END, 5, END, 6]
    assert extended(cut, rendered, END) == Extended([1, 2, END, 3, 4, 4, END, 5, END, 6], 6, 4)
    assert extended(cut, rendered) is None


@pytest.mark.parametrize("rendered", [[], [1], [1, 2, END, 3, 7, 7], [1, 2, END, 3, 7, END]])
def test_where_the_place_cannot_be_found_nothing_is_made_up(rendered: list[int]) -> None:
    assert extended(base([1, 2, END, 3], [4, 4, END]), rendered) is None


@given(turns=st.lists(st.tuples(IDS, IDS), min_size=1, max_size=5), new=IDS, respelled=IDS)
def test_whatever_a_template_makes_of_it_the_recorded_ids_come_first(
    turns: list[tuple[list[int], list[int]]], new: list[int], respelled: list[int]
) -> None:
    prompt = [each for asked, said in turns[:-1] for each in (*asked, END, *said, END)]
    prompt += [*turns[-1][0], END]
    sampled = [*turns[-1][1], END]
    rendered = [*prompt, *respelled, END, *new, END]
    found = extended(base(prompt, sampled), rendered)
    assert found is not None
    assert found.ids == [*prompt, *sampled, *new, END]
    assert found.ids[: found.carried] == prompt + sampled


@given(IDS, IDS, st.integers(1, 2000))
def test_common_is_the_first_difference(one: list[int], other: list[int], times: int) -> None:
    longer = one * (times % 70)
    assert common(longer, longer + other) == len(longer)
    assert common([*longer, 1, *one], [*longer, 2, *other]) == len(longer)


CAUSES = [
    ("assistant\n<think>\nHm\n</think>\n\nHi", "assistant\nHi<|im_end|>", "cut thinking"),
    ("assistant\n<tool_call>\n<x>", "assistant\n<think>\n\n</think>\n\n<tool_call>", "cut thinking"),
    ('<tool_call>\n{"arguments": {"a":1}}', '<tool_call>\n{"arguments": {"a": 1}}', "tool-argument spelling"),
    ("</tool_call><|im_end|>\n<|im_start|>user", "</tool_call>\n<|im_end|>\n<|im_start|>user", "template"),
    ("x-anthropic-billing-header: cch=1", "x-anthropic-billing-header: cch=2", "billing header"),
    ("same", "same", "unknown"),
]


@pytest.mark.parametrize(("before", "after", "cause"), CAUSES)
def test_causes(before: str, after: str, cause: str) -> None:
    assert cause_of(before, after, is_edited=False) == cause


def test_an_edited_history_is_the_cause_whatever_it_looks_like() -> None:
    assert cause_of("I <think>this.", "I said that.", is_edited=True) == "edited text"
