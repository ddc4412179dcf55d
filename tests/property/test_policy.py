"""Keys and abilities: what the policy makes of them."""

from __future__ import annotations

import msgspec

from dragoman.routing.policy import Candidate, choose, common, draw
from dragoman.wire.capabilities import EngineCapabilities


def engines(names: list[str]) -> list[Candidate]:
    return [Candidate(name) for name in names]


def test_keys_are_spread_over_all_engines() -> None:
    names = ["a", "b", "c", "d"]
    chosen = [choose(engines(names), f"session-{n}") for n in range(4000)]
    assert all(850 < chosen.count(name) < 1150 for name in names)


def test_the_length_of_a_key_keeps_pairs_apart() -> None:
    assert draw("ab", Candidate("c")) != draw("a", Candidate("bc"))


def test_lone_surrogates_are_a_key_like_any() -> None:
    assert choose(engines(["a"]), "\ud800") == "a"


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


def test_a_raw_format_is_theirs_together_where_it_is_one() -> None:
    hermes = EngineCapabilities(raw_format="hermes")
    assert common([hermes, hermes]).raw_format == "hermes"
    assert common([hermes, EngineCapabilities()]).raw_format == ""
