"""Turns as bytes: what is read is what was written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragoman.ledger.packing import (
    PackingError,
    checksum,
    pack,
    packed_body,
    sampled_in,
    squeezed,
    unpack,
    unpacked_body,
    unsqueezed,
)
from tests.unit.ledger.turns import IDS, sample, samples, turn


@given(st.data())
def test_what_is_read_is_what_was_written(data: st.DataObject) -> None:
    before = tuple(data.draw(IDS))
    first = data.draw(samples(before))
    second = data.draw(samples((*first.prompt_ids, *first.sampled_ids)))
    made = turn("t", samples=data.draw(st.sampled_from([(), (first,), (first, second)])))
    packed = pack(made, "before", before)
    assert unpack(packed.body, packed.tokens, made.path, {"before": before}.__getitem__) == made
    assert sampled_in(packed.tokens) == sum(len(each.sampled_ids) for each in made.samples)
    assert unpacked_body(packed_body(made)) == made.light


@given(st.binary(max_size=400))
def test_squeezed_bytes_come_back(data: bytes) -> None:
    assert unsqueezed(squeezed(data)) == data
    assert len(squeezed(data)) <= len(data) + 1


def test_a_prompt_that_goes_on_costs_what_is_new() -> None:
    before = list(range(10_000))
    made = turn("t", samples=(sample([*before, 1, 2], [3]),))
    assert len(pack(made, "before", before).tokens) < 300
    assert len(pack(made).tokens) > 5_000


@pytest.mark.parametrize("cut", [0, 1, 3, 20, -1])
def test_bytes_that_are_no_turn_are_told(cut: int) -> None:
    packed = pack(turn("t"))
    for body, tokens in ((packed.body[:cut], packed.tokens), (packed.body, packed.tokens[:cut])):
        with pytest.raises(PackingError):
            unpack(body, tokens, (), lambda _name: ())


def test_compressed_bytes_that_are_broken_are_told() -> None:
    kept = squeezed(b"a" * 500)
    with pytest.raises(PackingError, match="compressed"):
        unsqueezed(kept[:10] + b"x" + kept[11:])


def test_ids_of_an_earlier_turn_that_are_missing_are_told() -> None:
    packed = pack(turn("t"), "before", [1, 2])
    with pytest.raises(PackingError, match="before are missing"):
        unpack(packed.body, packed.tokens, (), lambda _name: [1])


def test_a_checksum_knows_where_parts_end() -> None:
    assert checksum(b"ab", b"c") != checksum(b"a", b"bc")
