"""An engine call while it runs: each token keeps the engine and the weights that it comes from."""

from __future__ import annotations

from dragoman.ledger.samples import OpenSample
from dragoman.ledger.values import Segment


def test_tokens_of_one_engine_and_one_version_are_one_segment() -> None:
    sample = OpenSample("tokens")
    assert sample.closed().segments == ()
    for ids, engine, version in (
        ([1, 2], "a", "1"),
        ([3], "a", "1"),
        ([], "b", "2"),
        ([4], "a", "2"),
        ([5, 6], "b", "2"),
    ):
        sample.take(ids, [-1.0] * len(ids), engine, version)
    closed = sample.closed()
    assert closed.segments == (Segment("a", "1", 3), Segment("a", "2", 1), Segment("b", "2", 2))
    assert closed.sampled_ids == (1, 2, 3, 4, 5, 6)
    assert len(closed.logprobs) == 6


def test_ids_without_their_log_probabilities_are_seen() -> None:
    sample = OpenSample("chat")
    sample.prompt_ids = [1]
    sample.take([1], [-1.0], "a", "")
    sample.take([2], None, "a", "")
    assert sample.closed().why_untrainable() == "lengths differ"
