"""Which rows a session's turns make."""

from __future__ import annotations

import math

import pytest

from dragoman.ledger.export.chains import chains_by_prefix
from dragoman.ledger.export.stitch import Stitched, first_difference, stitch
from dragoman.ledger.export.trajectory import Trajectory, Weights
from dragoman.ledger.values import Drift, Segment, Turn
from tests.support.recorded import sample, session, turn

FIRST = turn("t1", sample([1, 2, 3], [10, 11]), began=1)
SECOND = turn("t2", sample([1, 2, 3, 10, 11, 4, 5], [12]), began=2)


def rows(*turns: Turn) -> list[Trajectory]:
    return stitched(*turns).rows


def stitched(*turns: Turn) -> Stitched:
    return stitch(session(), chains_by_prefix(turns))


def test_a_tool_loop_is_one_row() -> None:
    [row] = rows(FIRST, SECOND)
    assert row.token_ids == [1, 2, 3, 10, 11, 4, 5, 12]
    assert row.mask == [0, 0, 0, 1, 1, 0, 0, 1]
    assert row.logprobs == [None, None, None, -0.5, -1.5, None, None, -0.5]
    assert (row.prompt_length, row.trained, row.broke_at) == (3, 3, None)
    assert [(span.turn, span.start, span.end) for span in row.spans] == [("t1", 3, 5), ("t2", 7, 8)]
    assert row.response_ids == [10, 11, 4, 5, 12]
    assert row.response_mask == [1, 1, 0, 0, 1]
    assert row.told(3) == [-0.5, -1.5, 0.0, 0.0, -0.5]


def test_a_row_tells_what_is_known_of_its_tokens() -> None:
    first = turn(
        "t1", sample([1], [10, 11], finish_reason="tool_calls"), agent="a", request_class="subagent", began=4
    )
    [row] = stitch(session(task="sum", repetition=3), [[first]]).rows
    [span] = row.spans
    assert (span.agent, span.request_class, span.model) == ("a", "subagent", "parrot")
    assert (span.finish_reason, span.logprobs_kind) == ("tool_calls", "raw")
    assert (span.began, span.ended, span.temperature) == (4, 5, None)
    assert (row.group, row.repetition, row.rewards) == ("sum", 3, {"reward": 1.0})


def test_weights_change_inside_of_an_answer() -> None:
    segments = (Segment("a", "7", 1), Segment("a", "", 0), Segment("b", "8", 2))
    [row] = rows(turn("t1", sample([1, 2], [10, 11, 12], segments=segments)))
    assert row.weights == [
        Weights(start=2, end=3, engine="a", weight_version="7"),
        Weights(start=3, end=5, engine="b", weight_version="8"),
    ]


def test_segments_that_do_not_fit_tell_nothing() -> None:
    [row] = rows(turn("t1", sample([1, 2], [10, 11], segments=(Segment("a", "7", 1),))))
    assert row.weights == [Weights(start=2, end=4, engine="vllm-0", weight_version="")]
    assert (row.trained, row.spans[0].why) == (0, "lengths differ")


def test_a_branch_trains_only_what_is_its_own() -> None:
    other = turn("t3", sample([1, 2, 3, 10, 11, 6], [13]), began=3)
    first, second = rows(FIRST, SECOND, other)
    assert (first.trained, second.trained) == (3, 1)
    assert second.mask == [0, 0, 0, 0, 0, 0, 1]
    assert second.spans[0].why == "trained in row 0"


def test_of_branches_the_earlier_one_trains_what_they_share() -> None:
    earlier = turn("t3", sample([1, 2, 3, 10, 11, 6], [13]), began=1.5)
    first, second = rows(FIRST, SECOND, earlier)
    assert [span.turn for span in first.spans] == ["t1", "t3"]
    assert [span.trained for span in second.spans] == [0, 1]


def test_server_tools_are_calls_of_one_turn() -> None:
    [row] = rows(turn("t1", sample([1], [10]), sample([1, 10, 2], [11])))
    assert [(span.turn, span.sample, span.start) for span in row.spans] == [("t1", 0, 1), ("t1", 1, 3)]
    assert row.mask == [0, 1, 0, 1]


@pytest.mark.parametrize(
    ("prompt", "drift", "at", "because"),
    [
        ([1, 2, 3, 10, 9, 4], None, 4, "differs"),
        ([1, 2, 3, 10], None, 4, "ends earlier"),
        (
            [1, 2, 3, 9, 9],
            Drift(at=3, before="a", after="b", cause="cut thinking", used="template"),
            3,
            "cut thinking",
        ),
        (
            [1, 2, 3, 9, 9],
            Drift(at=1, before="a", after="b", cause="cut thinking", used="recorded"),
            3,
            "differs",
        ),
    ],
)
def test_another_history_is_another_row(
    prompt: list[int], drift: Drift | None, at: int, because: str
) -> None:
    first, second = rows(FIRST, turn("t2", sample(prompt, [12], base="t1", drift=drift), began=2))
    assert (first.broke_at, first.broke_because) == (None, "")
    assert (second.broke_at, second.broke_because) == (at, because)
    assert second.token_ids == [*prompt, 12]
    assert (first.trained, second.trained) == (2, 1)


def test_a_row_that_is_whole_in_another_is_not_there_again() -> None:
    broken = [turn(f"t{n}", sample([1, 2, n], [12]), began=n) for n in (7, 8)]
    made = stitch(session(), [[FIRST, broken[0]], [FIRST, broken[1]], [FIRST]]).rows
    assert [[span.turn for span in row.spans] for row in made] == [["t1"], ["t7"], ["t8"]]


def test_a_token_without_a_number_is_not_trained() -> None:
    [row] = rows(turn("t1", sample([1], [10, 11, 12], logprobs=[-1.0, None, math.inf])))
    assert row.mask == [0, 1, 0, 0]
    assert row.logprobs == [None, -1.0, None, None]
    assert (row.spans[0].trained, row.spans[0].untold) == (1, 2)


def test_nothing_told_is_a_reason() -> None:
    [row] = rows(turn("t1", sample([1], [10], logprobs=[None])))
    assert (row.spans[0].why, row.spans[0].untold) == ("no log-probabilities", 1)


def test_what_is_withheld_stays_in_its_place() -> None:
    made = stitch(session(), [[FIRST, SECOND]], why_not=lambda each: "" if each.id == "t2" else "unconfirmed")
    assert made.rows[0].mask == [0, 0, 0, 0, 0, 0, 0, 1]
    assert (made.rows[0].spans[0].why, made.rows[0].spans[0].untold) == ("unconfirmed", 0)


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (turn("t2", sample([], []), began=2), "text only"),
        (turn("t2", began=2, hole="no record"), "no record"),
        (turn("t2", FIRST.samples[0], began=2, replay_of="t1"), "a replay"),
    ],
)
def test_turns_without_tokens_of_their_own_are_left_out(other: Turn, why: str) -> None:
    last = turn("t3", *SECOND.samples, began=3)
    made = stitch(session(), [[FIRST, other, last]])
    assert made.left_out == {"t2": why}
    assert [[span.turn for span in row.spans] for row in made.rows] == [["t1", "t3"]]
    assert stitched(FIRST, other, last) == made


def test_a_cut_turn_is_a_row_that_is_not_trained() -> None:
    cut = turn("t2", sample([1, 2, 3, 10, 11, 4], [12]), began=2, state="cut")
    again = turn("t3", sample([1, 2, 3, 10, 11, 4], [13, 14]), began=3)
    first, second = rows(FIRST, cut, again)
    assert [span.why for span in first.spans] == ["", "its state is cut"]
    assert [span.trained for span in second.spans] == [0, 2]


def test_equal_answers_are_samples_of_their_own() -> None:
    same = turn("t0", *FIRST.samples, began=1)
    first, second = rows(FIRST, SECOND, same)
    assert [span.turn for span in first.spans] == ["t0", "t2"]
    assert [span.turn for span in second.spans] == ["t1"]
    assert (first.trained, second.trained) == (3, 2)


def test_a_base_that_nobody_knows_is_none() -> None:
    assert [len(chain) for chain in chains_by_prefix([FIRST, turn("t2", sample([9], [1], base="t9"))])] == [
        1,
        1,
    ]


def test_the_first_difference() -> None:
    assert first_difference([1, 2], [1, 2]) is None
    assert first_difference([], [1]) is None
    assert first_difference((1, 2), [1, 3, 4]) == 1
    assert first_difference([1, 2], [1]) == 1
