"""Each trainer's form of the same rows, and what its check finds wrong."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from dragoman.ledger.export import nemo_gym, skyrl, slime, tinker, trl, verl
from dragoman.ledger.export.trajectory import ExportError, Trajectory
from tests.support.recorded import rollouts, sample, turn

ROWS = rollouts()
UNTOLD = rollouts(turn("t1", sample([1, 2], [10, 11], logprobs=[None, -0.25])))
NOTHING = rollouts(turn("t1", sample([1, 2], [10, 11], logprobs=[])))
# Another history: the session has two rows.
BROKEN = rollouts(turn("t1", sample([1, 2], [10])), turn("t2", sample([3], [11, 12], base="t1"), began=1))


def test_skyrl_whole() -> None:
    output = skyrl.whole(ROWS)
    assert output == {
        "prompt_token_ids": [[1, 2], [1, 2]],
        "response_ids": [[10, 11, 3, 12], [10, 11, 3, 12]],
        "rewards": [1.0, 0.5],
        "loss_masks": [[1, 1, 0, 1]] * 2,
        "stop_reasons": ["length", "length"],
        "rollout_metrics": None,
        "rollout_logprobs": [[-0.5, -1.5, 0.0, -0.5]] * 2,
        "trajectory_ids": [skyrl.TrajectoryID("sum", 0), skyrl.TrajectoryID("sum", 1)],
    }
    assert skyrl.check_skyrl(output, 2) == []
    assert output["trajectory_ids"][1].to_string() == "sum_1"


def test_skyrl_steps() -> None:
    output = skyrl.step_wise(ROWS)
    assert output["prompt_token_ids"] == [[1, 2], [1, 2, 10, 11, 3]] * 2
    assert output["response_ids"] == [[10, 11], [12]] * 2
    assert output["rewards"] == [0.0, 1.0, 0.0, 0.5]
    assert output["is_last_step"] == [False, True, False, True]
    assert output["stop_reasons"] == ["stop", "length"] * 2
    assert skyrl.check_skyrl(output, 2, step_wise=True) == []


def test_skyrl_merged_steps_are_rows() -> None:
    output = skyrl.step_wise(BROKEN, merged=True)
    assert output["response_ids"] == [[10], [11, 12]] * 2
    assert output["is_last_step"] == [False, True, False, True]
    assert skyrl.check_skyrl(output, 2, step_wise=True) == []


def test_skyrl_takes_one_row_of_a_session_or_its_steps() -> None:
    with pytest.raises(ExportError, match="trains 2 rows: export its steps"):
        skyrl.whole(BROKEN)


@pytest.mark.parametrize("export", [skyrl.whole, skyrl.step_wise])
def test_skyrl_keeps_a_session_that_is_not_trained(export: Callable[[list[Trajectory]], Any]) -> None:
    output = export(NOTHING)
    assert output["loss_masks"] == [[0, 0], [0, 0]]
    assert output["rollout_logprobs"] == [[0.0, 0.0], [0.0, 0.0]]


@pytest.mark.parametrize("export", [skyrl.whole, skyrl.step_wise])
def test_skyrl_tells_sessions_apart(export: Callable[..., Any]) -> None:
    with pytest.raises(ExportError, match="two sessions are repetition 0 of 'sum'"):
        export(rollouts(repetitions=(0, 0)))
    with pytest.raises(ExportError, match="has no reward 'tests'"):
        export(ROWS, reward="tests")
    with pytest.raises(ExportError, match="its repetition is no whole number"):
        export(rollouts(repetitions=("a", "b")))


def test_a_group_is_what_rewards_are_compared_in() -> None:
    groups = [rollouts(group="g")[0].group, rollouts(task={"a": 1})[0].group]
    assert groups == ["g", '{"a":1}']
    assert rollouts(task=None)[0].group == "s0"


def test_verl() -> None:
    output = verl.agent_loop_outputs(ROWS)[1]
    assert output == {
        "prompt_ids": [1, 2],
        "response_ids": [10, 11, 3, 12],
        "response_mask": [1, 1, 0, 1],
        "response_logprobs": [-0.5, -1.5, 0.0, -0.5],
        "reward_score": 0.5,
        "num_turns": 4,
        "metrics": {"generate_sequences": 2.0},
        "extra_fields": {
            "min_global_steps": 7,
            "max_global_steps": 8,
            "session": "s1",
            "row": 0,
            "group": "sum",
        },
    }
    assert verl.check_verl(output, prompt_length=2, response_length=4) == []
    assert verl.check_verl(output, prompt_length=1, response_length=3) == [
        "prompt_ids: 2 of at most 1",
        "response_ids: 4 of at most 3",
    ]


def test_verl_knows_only_versions_that_are_steps() -> None:
    output = verl.agent_loop_outputs(rollouts(version="b3"))[0]
    assert output["extra_fields"]["min_global_steps"] is None


def test_slime() -> None:
    output = slime.samples(ROWS)
    assert output[1] == {
        "group_index": 0,
        "index": 1,
        "prompt": "",
        "tokens": [1, 2, 10, 11, 3, 12],
        "response": "",
        "response_length": 4,
        "reward": 0.5,
        "loss_mask": [1, 1, 0, 1],
        "weight_versions": ["7", "8"],
        "rollout_log_probs": [-0.5, -1.5, 0.0, -0.5],
        "remove_sample": False,
        "status": "truncated",
        "metadata": {"task": "sum", "repetition": 1, "session": "s1", "row": 0},
        "session_id": "s1",
    }
    assert [slime.check_slime(each) for each in output] == [[], []]
    assert slime.check_slime({**output[0], "response_length": 0}) == ["response_length: 0 of 6 tokens"]


def test_trl() -> None:
    output = trl.rollout(ROWS)
    assert output == {
        "prompt_ids": [[1, 2]] * 2,
        "completion_ids": [[10, 11, 3, 12]] * 2,
        "logprobs": [[-0.5, -1.5, 0.0, -0.5]] * 2,
        "env_mask": [[1, 1, 0, 1]] * 2,
        "reward": [1.0, 0.5],
        "session": ["s0", "s1"],
    }
    assert trl.check_trl(output, 2) == []
    assert trl.check_trl({"prompt_ids": []}, 0) == ["no completion_ids", "no logprobs"]
    assert trl.check_trl(output, 3)[0] == "prompt_ids: 2 entries for 3 prompts"


def test_what_a_trainer_can_do_without_may_be_absent() -> None:
    assert (
        trl.check_trl({name: values for name, values in trl.rollout(ROWS).items() if name != "env_mask"}, 2)
        == []
    )
    assert skyrl.check_skyrl({**skyrl.whole(ROWS), "rollout_logprobs": None, "stop_reasons": None}, 2) == []


def test_trl_turns() -> None:
    assert trl.turn_captures(ROWS)[1] == {
        "prompt_ids": [1, 2, 10, 11, 3],
        "completion_ids": [12],
        "logprobs": [-0.5],
        "model_version": "8",
    }
    assert trl.turn_captures(UNTOLD) == []


def test_tinker() -> None:
    output = tinker.datums(ROWS)[0]
    assert output == {
        "model_input": {"chunks": [{"type": "encoded_text", "tokens": [1, 2, 10, 11, 3]}]},
        "loss_fn_inputs": {
            "target_tokens": {"data": [2, 10, 11, 3, 12], "dtype": "int64", "shape": [5]},
            "weights": {"data": [0.0, 1.0, 1.0, 0.0, 1.0], "dtype": "float32", "shape": [5]},
            "logprobs": {"data": [0.0, -0.5, -1.5, 0.0, -0.5], "dtype": "float32", "shape": [5]},
        },
    }
    assert tinker.check_tinker(output) == []


def test_nemo_gym() -> None:
    made = nemo_gym.token_entries(ROWS)
    assert made.entries[1] == {
        "schema_version": 1,
        "rollout_id": "s0",
        "model_call_id": "t2",
        "model": "parrot",
        "prompt_token_ids": [1, 2, 10, 11, 3],
        "generation_token_ids": [12],
        "generation_log_probs": [-0.5],
        "output_items": [],
        "token_item_index": None,
        "created_at": 1.0,
    }
    assert (len(made.entries), made.incomplete) == (4, {})
    assert [nemo_gym.check_nemo_gym(entry) for entry in made.entries] == [[]] * 4


def test_nemo_gym_with_parents() -> None:
    entries = nemo_gym.token_entries(ROWS, version=3).entries
    assert [(entry["parent_call_id"], entry["parent_resolution"]) for entry in entries[:2]] == [
        (None, "root"),
        ("t1", "resolved"),
    ]
    assert [entry["cum_len"] for entry in entries[:2]] == [4, 6]
    assert [nemo_gym.check_nemo_gym(entry) for entry in entries] == [[]] * 4
    assert nemo_gym.token_entries(BROKEN, version=3).entries[1]["parent_resolution"] == "root"
    assert nemo_gym.digest([]) == nemo_gym.digest([])
    assert nemo_gym.digest([1]) != nemo_gym.digest([1, 0])


def test_nemo_gym_trains_a_call_whole_and_once() -> None:
    made = nemo_gym.token_entries(UNTOLD)
    assert made.entries == []
    assert made.incomplete == {"s0": "t1: no log-probabilities", "s1": "t1: no log-probabilities"}
    rounds = turn("t1", sample([1], [2]), sample([1, 2, 3], [4]))
    fork = turn("t2", sample([1, 2, 3, 4, 5], [6]), began=1)
    other = turn("t3", sample([1, 2, 3, 4, 7], [8]), began=2)
    forked = nemo_gym.token_entries(rollouts(rounds, fork, other)).entries
    assert [entry["model_call_id"] for entry in forked[:4]] == ["t1", "t1:1", "t2", "t3"]


def test_rows_that_are_not_trained_are_not_exported() -> None:
    assert (verl.agent_loop_outputs(NOTHING), slime.samples(NOTHING), tinker.datums(NOTHING)) == ([], [], [])
    assert trl.rollout(NOTHING)["prompt_ids"] == []


def spoiled(value: Any, path: tuple[str | int, ...], bad: Any) -> Any:
    """A copy with another value in one place."""
    changed = copy.deepcopy(value)
    inner = changed
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = bad
    return changed


CHECKS: dict[str, tuple[Callable[[Any], list[str]], Any]] = {
    "skyrl": (lambda output: skyrl.check_skyrl(output, 2), skyrl.whole(ROWS)),
    "steps": (lambda output: skyrl.check_skyrl(output, 2, step_wise=True), skyrl.step_wise(ROWS)),
    "verl": (verl.check_verl, verl.agent_loop_outputs(ROWS)[0]),
    "slime": (slime.check_slime, slime.samples(ROWS)[0]),
    "trl": (lambda output: trl.check_trl(output, 2), trl.rollout(ROWS)),
    "tinker": (tinker.check_tinker, tinker.datums(ROWS)[0]),
    "nemo_gym": (nemo_gym.check_nemo_gym, nemo_gym.token_entries(ROWS, version=3).entries[1]),
}
OTHER_ID = skyrl.TrajectoryID("other", 0)


@pytest.mark.parametrize(
    ("trainer", "path", "bad"),
    [
        ("skyrl", ("response_ids",), []),
        ("skyrl", ("response_ids", 0), []),
        ("skyrl", ("response_ids",), [[1]]),
        ("skyrl", ("rewards",), [1.0]),
        ("skyrl", ("rewards", 0), float("nan")),
        ("skyrl", ("loss_masks", 0), [1, 1, 0]),
        ("skyrl", ("loss_masks", 0), [1, 1, 0, 2]),
        ("skyrl", ("rollout_logprobs", 0, 2), None),
        ("steps", ("is_last_step",), None),
        ("steps", ("is_last_step", 3), False),
        ("steps", ("is_last_step", 0), True),
        ("steps", ("trajectory_ids", 0), OTHER_ID),
        ("steps", ("trajectory_ids", 3), skyrl.TrajectoryID("sum", 0)),
        ("verl", ("prompt_ids",), []),
        ("verl", ("response_ids", 0), -1),
        ("verl", ("response_mask",), [1]),
        ("verl", ("reward_score",), "1"),
        ("slime", ("tokens",), [1, 2, True, 4, 5, 6]),
        ("slime", ("loss_mask",), [1]),
        ("slime", ("status",), "done"),
        ("slime", ("reward",), float("inf")),
        ("trl", ("prompt_ids", 0), []),
        ("trl", ("env_mask", 0), [1]),
        ("tinker", ("model_input", "chunks", 0, "type"), "image"),
        ("tinker", ("loss_fn_inputs", "weights", "dtype"), "int64"),
        ("tinker", ("loss_fn_inputs", "weights", "shape"), [4]),
        ("tinker", ("loss_fn_inputs", "target_tokens", "data", 0), 9),
        ("nemo_gym", ("generation_token_ids",), []),
        ("nemo_gym", ("generation_log_probs",), []),
        ("nemo_gym", ("schema_version",), 2),
        ("nemo_gym", ("parent_call_id",), None),
        ("nemo_gym", ("cum_len",), 5),
    ],
)
def test_a_check_finds_what_is_wrong(trainer: str, path: tuple[str | int, ...], bad: Any) -> None:
    check, good = CHECKS[trainer]
    assert check(good) == []
    assert check(spoiled(good, path, bad)) != []
