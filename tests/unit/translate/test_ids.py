"""Tool call ids: legal, unique, and the engine's own id comes out again."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragoman.translate.ids import call_id_in, call_id_out

LEGAL = re.compile(r"^[a-zA-Z0-9_-]+$")
ENGINE_IDS = [
    "call_0",
    "functions.get_weather:0",
    "chatcmpl-tool-7f3a",
    "-",
    "--",
    "_",
    "a b",
    "日本",
    "toolu_01A09q90qw90lq917835lq9",
]


@pytest.mark.parametrize("engine_id", ENGINE_IDS)
def test_the_engines_id_comes_home(engine_id: str) -> None:
    ours = call_id_out(engine_id, "msg_1", 3)
    assert LEGAL.match(ours)
    assert call_id_in(ours) == engine_id


@given(st.text(min_size=1), st.text(), st.integers(0, 10_000))
def test_any_id_comes_home(engine_id: str, message_id: str, n: int) -> None:
    ours = call_id_out(engine_id, message_id, n)
    assert LEGAL.match(ours)
    assert ours.startswith("toolu_")
    assert call_id_in(ours) == engine_id


def test_one_of_ours_wrapped_again_comes_home() -> None:
    inner = call_id_out("call_0", "msg_1", 0)
    assert call_id_in(call_id_out(inner, "msg_2", 0)) == inner


def test_an_engine_that_repeats_its_ids_gives_different_ones() -> None:
    ours = {call_id_out("call_0", message, n) for message in ("msg_1", "msg_2") for n in range(3)}
    assert len(ours) == 6


@pytest.mark.parametrize("nothing", [None, ""])
def test_a_call_without_id_gets_one_that_stays(nothing: str | None) -> None:
    ours = call_id_out(nothing, "msg_1", 0)
    assert LEGAL.match(ours)
    assert ours != call_id_out(nothing, "msg_1", 1)
    assert call_id_in(ours) == ours


@pytest.mark.parametrize(
    "foreign",
    [
        "toolu_01A09q90qw90lq917835lq9",
        "call_0",
        "",
        "toolu_0123456789ab_0_a-b",  # an escape that is cut
        "toolu_0123456789ab_0_-61",  # an escape where none is needed
        "toolu_0123456789ab_0_-ff",  # no UTF-8
        "toolu_0123456789ab_x_a",
    ],
)
def test_an_id_that_is_not_ours_is_unchanged(foreign: str) -> None:
    assert call_id_in(foreign) == foreign
