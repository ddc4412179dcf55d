"""The breaker and the budget of retries: pure, with times that are passed in."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dragoman.routing.breaker import Breaker
from dragoman.routing.budget import RetryBudget


def test_it_opens_after_failures_in_a_row_only() -> None:
    breaker = Breaker(failures=3, seconds=10)
    for _ in range(2):
        opened = []
        for _ in range(2):
            breaker.begin(0)
            opened.append(breaker.failed(0))
        assert opened == [False, False]
        breaker.begin(0)
        breaker.succeeded()
    for _ in range(2):
        breaker.failed(0)
    assert breaker.state(0) == "closed"
    breaker.begin(0)
    assert breaker.failed(1) is True
    assert (breaker.state(1), breaker.allows(1)) == ("open", False)
    assert breaker.failed(2) is False, "it was open already"


def test_one_call_tries_and_its_outcome_decides() -> None:
    breaker = Breaker(failures=1, seconds=10)
    breaker.begin(0)
    assert breaker.failed(0)
    assert (breaker.state(9.9), breaker.state(10)) == ("open", "half-open")
    assert breaker.allows(10)
    breaker.begin(10)
    assert not breaker.allows(10), "one at a time"
    assert not breaker.failed(11)
    assert (breaker.state(20.9), breaker.state(21)) == ("open", "half-open")
    breaker.begin(21)
    breaker.dropped()
    assert breaker.allows(21), "a call that says nothing leaves the try to the next one"
    breaker.begin(21)
    breaker.answering()
    assert (breaker.state(21), breaker.allows(21)) == ("closed", True)


def test_an_answer_that_begins_does_not_make_up_for_failures() -> None:
    breaker = Breaker(failures=2, seconds=10)
    breaker.failed(0)
    breaker.begin(1)
    breaker.answering()
    assert breaker.failed(2) is True


@given(st.lists(st.sampled_from(["succeeded", "failed", "dropped", "answering", "wait"]), max_size=60))
def test_whatever_happens_it_comes_back(steps: list[str]) -> None:
    breaker, now = Breaker(failures=2, seconds=5), 0.0
    for step in steps:
        now += 1
        if step == "wait":
            now += 5
            continue
        breaker.begin(now)
        breaker.failed(now) if step == "failed" else getattr(breaker, step)()
        assert breaker.state(now) in {"closed", "open", "half-open"}
    breaker.dropped()
    assert breaker.allows(now + 5)
    breaker.begin(now + 5)
    breaker.succeeded()
    assert breaker.state(now + 5) == "closed"


def test_retries_are_a_share_of_the_calls() -> None:
    budget = RetryBudget(0.5)
    at_first = sum(budget.take() for _ in range(50))
    assert at_first == 10
    for _ in range(20):
        budget.earn()
    assert sum(budget.take() for _ in range(50)) == 10
    for _ in range(10_000):
        budget.earn()
    assert sum(budget.take() for _ in range(500)) == 100


def test_without_a_share_there_is_none() -> None:
    budget = RetryBudget(0.0)
    budget.earn()
    assert not budget.take()
