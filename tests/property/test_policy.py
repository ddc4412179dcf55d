"""Placement: the same in every process, spread over all engines, and moved as little as can be."""

from __future__ import annotations

import subprocess
import sys

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragoman.routing.policy import Candidate, choose, common, weight
from dragoman.wire.capabilities import EngineCapabilities

NAMES = st.lists(st.text(min_size=1, max_size=5), min_size=1, max_size=6, unique=True)
KEYS = st.text(max_size=20)


def engines(names: list[str]) -> list[Candidate]:
    return [Candidate(name) for name in names]


@given(NAMES, KEYS, st.randoms())
def test_a_key_meets_the_same_engine_in_any_order_and_load(
    names: list[str], key: str, random: object
) -> None:
    shuffled = sorted(names, key=lambda name: weight("order", name))
    loaded = [Candidate(name, load) for load, name in enumerate(shuffled)]
    assert choose(engines(names), key) == choose(loaded, key)


@given(NAMES, KEYS, st.data())
def test_an_engine_that_leaves_moves_only_its_own_share(
    names: list[str], key: str, data: st.DataObject
) -> None:
    chosen = choose(engines(names), key)
    leaving = data.draw(st.sampled_from(names))
    left = [name for name in names if name != leaving]
    stays = chosen != leaving
    assert not stays or choose(engines(left), key) == chosen


@given(NAMES, KEYS, st.text(min_size=6, max_size=7))
def test_an_engine_that_joins_takes_only_its_own_share(names: list[str], key: str, joining: str) -> None:
    assert choose(engines([*names, joining]), key) in {choose(engines(names), key), joining}


def test_keys_are_spread_over_all_engines() -> None:
    names = ["a", "b", "c", "d"]
    chosen = [choose(engines(names), f"session-{n}") for n in range(4000)]
    assert all(850 < chosen.count(name) < 1150 for name in names)


def test_every_process_chooses_alike() -> None:
    program = (
        "from dragoman.routing.policy import Candidate, choose\n"
        "print([choose([Candidate('a'), Candidate('b'), Candidate('c')], str(n)) for n in range(20)])"
    )
    seeds = ("1", "2")
    printed = [
        subprocess.run(
            [sys.executable, "-c", program], env={"PYTHONHASHSEED": seed}, check=True, capture_output=True
        ).stdout
        for seed in seeds
    ]
    assert printed[0] == printed[1] != b""


def test_the_length_of_a_key_keeps_pairs_apart() -> None:
    assert weight("ab", "c") != weight("a", "bc")


def test_lone_surrogates_are_a_key_like_any() -> None:
    assert choose(engines(["a"]), "\ud800") == "a"


@pytest.mark.parametrize(
    ("loads", "chosen"), [({"a": 1, "b": 0}, "b"), ({"a": 2, "b": 2}, "a"), ({"a": 0}, "a")]
)
def test_without_a_key_the_least_loaded(loads: dict[str, int], chosen: str) -> None:
    assert choose([Candidate(name, load) for name, load in loads.items()], None) == chosen


def test_engines_together_can_what_each_of_them_can() -> None:
    able = EngineCapabilities(
        context_length=10, images=True, counting=True, reasoning=True, continuation=True
    )
    less = msgspec.structs.replace(able, context_length=None, images=False, reasoning=False)
    together = common([able, less])
    assert (together.context_length, together.images, together.counting) == (10, False, True)
    assert together.reasoning
    assert common([less]) is less
    assert common([less, less]) == less
    assert common([able, msgspec.structs.replace(able, context_length=5)]).context_length == 5
