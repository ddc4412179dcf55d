"""Rollouts: keys that name their session, budgets, and sampling that the trainer sets."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragoman.ledger.sessions import (
    BudgetSpentError,
    RolloutKeys,
    Used,
    asked_by,
    check_budget,
    overridden,
    used_by,
)
from dragoman.ledger.values import Budget, Sampling, Session
from dragoman.wire.anthropic.codec import decode_messages

KEYS = RolloutKeys("secret")


@given(st.text(min_size=1, max_size=80))
def test_a_key_names_its_session(session: str) -> None:
    key = KEYS.made(session.encode("utf-8", "replace").decode())
    assert KEYS.session(key) == session.encode("utf-8", "replace").decode()
    assert key.isascii()
    assert key.isprintable()
    assert " " not in key


@given(st.text(max_size=40))
def test_no_other_text_is_one(text: str) -> None:
    assert KEYS.session(text) is None
    assert KEYS.session(f"dr-{text}") is None
    assert KEYS.session(f"dr-{text}.{text}") is None


def test_a_key_of_another_server_is_none_of_ours() -> None:
    key = KEYS.made("one")
    assert RolloutKeys("other").session(key) is None
    assert KEYS.session(key[:-1]) is None
    assert KEYS.session(KEYS.made("two").partition(".")[0] + "." + key.partition(".")[2]) is None


@pytest.mark.parametrize(
    ("budget", "used", "now", "spent"),
    [
        ({}, Used(10**6, 10**9), 10.0**9, ""),
        ({"turns": 3}, Used(2, 0), 0.0, ""),
        ({"turns": 3}, Used(3, 0), 0.0, "has used its 3 turns"),
        ({"tokens": 100}, Used(1, 99), 0.0, ""),
        ({"tokens": 100}, Used(1, 100), 0.0, "has used its 100 tokens"),
        ({"seconds": 1.5}, Used(), 11.4, ""),
        ({"seconds": 1.5}, Used(), 11.5, "has used its 1.5 seconds"),
    ],
)
def test_budgets(budget: dict[str, Any], used: Used, now: float, spent: str) -> None:
    session = Session(id="s", created=10.0, budget=Budget(**budget))
    found = ""
    try:
        check_budget(session, used, now)
    except BudgetSpentError as error:
        found = error.message
    assert not BudgetSpentError.default_should_retry
    assert found == (f"the session s {spent}" if spent else "")


@pytest.mark.parametrize("state", ["finishing", "frozen"])
def test_a_closed_session_takes_no_request(state: Any) -> None:
    with pytest.raises(BudgetSpentError, match="takes no more requests"):
        check_budget(Session(id="s", state=state), Used(), 0.0)


def test_the_trainers_sampling_holds_and_the_harness_s_is_known() -> None:
    body = {"model": "m", "max_tokens": 100, "temperature": 0.2, "messages": [], "stop_sequences": ["x"]}
    request = decode_messages(msgspec.json.encode(body | {"messages": [{"role": "user", "content": "Hi"}]}))
    sampling = Sampling(temperature=1.0, top_p=1.0, max_tokens=50, min_tokens=2, seed=7)
    changed = overridden(request, sampling)
    assert (changed.temperature, changed.top_p, changed.max_tokens) == (1.0, 1.0, 50)
    assert changed.stop_sequences == ["x"]
    assert request.temperature == 0.2
    assert overridden(request, Sampling()) is request
    assert overridden(request, Sampling(max_tokens=500)).max_tokens == 100
    assert overridden(request, Sampling(stop=("y",))).stop_sequences == ["y"]
    assert asked_by(request) == Sampling(temperature=0.2, max_tokens=100, stop=("x",))
    assert used_by(sampling, request) == Sampling(
        temperature=1.0, top_p=1.0, max_tokens=50, min_tokens=2, seed=7, stop=("x",)
    )
