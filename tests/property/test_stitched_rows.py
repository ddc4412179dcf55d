"""Whatever a session's turns are: each sampled token is trained once, each prompt is as it was read."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from random import Random

import msgspec
from hypothesis import assume, given
from hypothesis import strategies as st

from dragoman.ledger.export import nemo_gym, slime, tinker, trl, verl
from dragoman.ledger.export.chains import chains_by_prefix
from dragoman.ledger.export.skyrl import check_skyrl, step_wise
from dragoman.ledger.export.stitch import Stitched, stitch
from dragoman.ledger.export.trajectory import Trajectory
from dragoman.ledger.values import Sample, Segment, Turn
from tests.support.recorded import sample, session, turn

# So few that prompts coincide by chance.
IDS = st.lists(st.integers(0, 2), min_size=1, max_size=4)
# Most are told: a token that is not trained proves little.
NUMBERS = st.floats(-9, 0) | st.floats(-9, 0) | st.floats(-9, 0) | st.sampled_from([None, math.nan])


@st.composite
def calls(draw: st.DrawFn, begins: list[int]) -> Sample:
    """A call that goes on from some tokens; now and then it has no log-probabilities, or only a text."""
    sampled = draw(IDS)
    told = draw(st.lists(NUMBERS, min_size=len(sampled), max_size=len(sampled)))
    told = draw(st.sampled_from([told] * 5 + [[]]))
    cut = draw(st.integers(0, len(sampled)))
    segments = (Segment("a", "1", cut), Segment("a", "2", len(sampled) - cut))
    new = draw(IDS)
    prompt = draw(st.sampled_from([[*begins, *new]] * 9 + [[]]))
    return sample(prompt, sampled, logprobs=told, segments=segments)


@st.composite
def sessions(draw: st.DrawFn) -> tuple[list[Turn], list[list[Turn]]]:
    """The turns of a session, and chains that somebody says they make."""
    turns: list[Turn] = []
    chains: list[list[Turn]] = [[]]
    for number in range(draw(st.integers(1, 8))):
        chain = draw(st.sampled_from(chains))
        last = chain[-1].samples[-1] if chain else None
        begins = [*last.prompt_ids, *last.sampled_ids] if last else []
        # A history that was edited begins otherwise, or ends earlier.
        begins = draw(st.sampled_from([begins, begins, begins, begins[1:], begins[:-1]]))
        first = draw(calls(begins))
        more = draw(st.lists(calls([*first.prompt_ids, *first.sampled_ids]), max_size=1))
        state = draw(st.sampled_from(["done", "done", "done", "cut"]))
        replay = draw(st.sampled_from(["", "", "", "t0"]))
        new = turn(f"t{number}", first, *more, began=draw(st.integers(0, 3)), state=state, replay_of=replay)
        turns.append(new)
        chains.append([*chain, new])
    return turns, chains[1:]


def sampled_tokens(turns: list[Turn]) -> Iterator[tuple[str, int, int]]:
    """Those that are to be trained, by turn, call and place."""
    for each in turns:
        for number, call in enumerate(each.samples if not each.why_untrainable() else ()):
            for place, told in enumerate(call.logprobs):
                if told is not None and math.isfinite(told):
                    yield each.id, number, place


def trained_tokens(rows: list[Trajectory]) -> Iterator[tuple[str, int, int]]:
    for row in rows:
        for span in row.spans:
            for place in range(span.start, span.end):
                if row.mask[place]:
                    yield span.turn, span.sample, place - span.start


def holds(stitched: Stitched, turns: list[Turn]) -> None:
    """All that is promised of rows."""
    calls_by_key = {(each.id, n): call for each in turns for n, call in enumerate(each.samples)}
    assert Counter(trained_tokens(stitched.rows)) == Counter(sampled_tokens(turns))
    assert [row.row for row in stitched.rows] == list(range(len(stitched.rows)))
    for row in stitched.rows:
        assert len(row.token_ids) == len(row.mask) == len(row.logprobs)
        assert [value is None for value in row.logprobs] == [not value for value in row.mask]
        assert row.prompt_length == row.spans[0].start
        assert sum(row.mask) == sum(span.trained for span in row.spans)
        assert sum(row.mask[: row.prompt_length]) == 0
        assert sum(each.end - each.start for each in row.weights) == sum(
            span.end - span.start for span in row.spans
        )
        for span in row.spans:
            call = calls_by_key[span.turn, span.sample]
            assert row.token_ids[: span.start] == call.prompt_ids
            assert row.token_ids[span.start : span.end] == call.sampled_ids
    shown = {span.turn for row in stitched.rows for span in row.spans}
    assert shown | set(stitched.left_out) == {each.id for each in turns}


@given(sessions())
def test_chains_by_prefix_make_rows_that_hold(recorded: tuple[list[Turn], list[list[Turn]]]) -> None:
    turns, _ = recorded
    holds(stitch(session(), chains_by_prefix(turns)), turns)


@given(sessions())
def test_rows_hold_whatever_the_chains_are(recorded: tuple[list[Turn], list[list[Turn]]]) -> None:
    turns, chains = recorded
    holds(stitch(session(), chains), turns)


@given(sessions(), st.randoms(use_true_random=False))
def test_the_order_of_turns_and_chains_is_nothing(
    recorded: tuple[list[Turn], list[list[Turn]]], chance: Random
) -> None:
    turns, chains = recorded
    shuffled, others = list(turns), list(chains)
    chance.shuffle(shuffled)
    chance.shuffle(others)
    assert stitch(session(), chains) == stitch(session(), others)
    assert stitch(session(), chains_by_prefix(turns)) == stitch(session(), chains_by_prefix(shuffled))


@given(sessions())
def test_what_is_withheld_is_never_trained(recorded: tuple[list[Turn], list[list[Turn]]]) -> None:
    _, chains = recorded
    stitched = stitch(session(), chains, why_not=lambda each: "unconfirmed" if each.id == "t1" else "")
    assert "t1" not in {name for name, _, _ in trained_tokens(stitched.rows)}


@given(sessions())
def test_steps_train_what_the_rows_train(recorded: tuple[list[Turn], list[list[Turn]]]) -> None:
    turns, _ = recorded
    rows = stitch(session(), chains_by_prefix(turns)).rows
    assume(rows)
    steps = step_wise(rows)
    trained = sum(row.trained for row in rows)
    assert sum(sum(mask) for mask in steps["loss_masks"]) == trained
    assert check_skyrl(steps, 1, step_wise=True) == []
    assert sum(sum(mask) for mask in step_wise(rows, merged=True)["loss_masks"]) == trained
    assert msgspec.json.decode(msgspec.json.encode(rows), type=list[Trajectory]) == rows


@given(sessions())
def test_every_form_fits_its_trainer(recorded: tuple[list[Turn], list[list[Turn]]]) -> None:
    turns, chains = recorded
    rows = stitch(session(), chains).rows
    found = [problem for each in verl.agent_loop_outputs(rows) for problem in verl.check_verl(each)]
    found += [problem for each in slime.samples(rows) for problem in slime.check_slime(each)]
    found += [problem for each in tinker.datums(rows) for problem in tinker.check_tinker(each)]
    made = nemo_gym.token_entries(rows, version=3)
    found += [problem for each in made.entries for problem in nemo_gym.check_nemo_gym(each)]
    output = trl.rollout(rows)
    assert found + trl.check_trl(output, len(output["prompt_ids"])) == []
    calls = [(each["prompt_token_ids"], each["generation_token_ids"]) for each in made.entries]
    sampled = [(call.prompt_ids, call.sampled_ids) for each in turns for call in each.samples]
    assert [call for call in calls if call not in sampled] == []
    assert len({each["model_call_id"] for each in made.entries}) == len(made.entries)
