"""What trainers themselves say of our exports."""

from __future__ import annotations

from typing import Any, Optional
from unittest import mock

import numpy as np
import pydantic
import pytest

from dragoman.ledger.export import skyrl, tinker, verl
from dragoman.ledger.export.trajectory import Trajectory
from tests.support.recorded import rollouts, sample, turn
from tests.support.trainers import lifted, tinker_types

LOOP = rollouts()
BROKEN = rollouts(turn("t1", sample([1, 2], [10])), turn("t2", sample([3], [11, 12], base="t1"), began=1))
FORKED = rollouts(
    turn("t1", sample([1], [2]), sample([1, 2, 3], [4])),
    turn("t2", sample([1, 2, 3, 4, 5], [6]), began=1),
    turn("t3", sample([1, 2, 3, 4, 7], [8], logprobs=[None]), began=2),
    turn("t4", sample([1, 2, 3, 4, 7, 8, 9], [10, 11]), began=3),
)
NOTHING = rollouts(turn("t1", sample([1, 2], [10, 11], logprobs=[])))
SESSIONS = pytest.mark.parametrize(
    "rows", [LOOP, BROKEN, FORKED, NOTHING], ids=["loop", "broken", "forked", "nothing"]
)


@pytest.fixture(scope="module")
def skyrl_validate() -> Any:
    names = ("validate_generator_output", "_validate_step_wise_fields")
    return lifted("skyrl/train/utils/trainer_utils.py", names, np=np, logger=mock.Mock())[names[0]]


@pytest.fixture(scope="module")
def skyrl_merge() -> Any:
    names = ("_merge_single_trajectory", "_is_prefix")
    path = "skyrl/train/generators/utils.py"
    prefix = lifted(path, names[1:])[names[1]]
    return lifted(path, names[:1], _is_prefix=prefix)[names[0]]


@pytest.mark.parametrize("rows", [LOOP, NOTHING])
def test_skyrl_takes_whole_sessions(skyrl_validate: Any, rows: list[Trajectory]) -> None:
    skyrl_validate(2, skyrl.whole(rows))


@SESSIONS
@pytest.mark.parametrize("merged", [False, True])
def test_skyrl_takes_steps(skyrl_validate: Any, rows: list[Trajectory], merged: bool) -> None:
    skyrl_validate(2, skyrl.step_wise(rows, merged=merged), step_wise=True)


@pytest.mark.parametrize("rows", [LOOP, BROKEN])
def test_skyrl_merges_steps_to_our_rows(skyrl_merge: Any, rows: list[Trajectory]) -> None:
    own = [row for row in rows if row.session == "s0"]
    merged = skyrl_merge(skyrl.step_wise(own))
    ours = skyrl.step_wise(own, merged=True)
    assert {name: merged[name] for name in ours if name != "rollout_metrics"} == {
        name: values for name, values in ours.items() if name != "rollout_metrics"
    }


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("loss_masks", [[1]] * 2),
        ("rewards", [1.0]),
        ("rollout_logprobs", [[0.0]] * 2),
        ("stop_reasons", []),
        ("response_ids", []),
    ],
)
def test_skyrl_and_our_check_refuse_the_same(skyrl_validate: Any, name: str, bad: list[object]) -> None:
    output = {**skyrl.whole(LOOP), name: bad}
    with pytest.raises((AssertionError, RuntimeError)):
        skyrl_validate(2, output)
    assert skyrl.check_skyrl(output, 2) != []


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("is_last_step", [True] * 4),
        ("is_last_step", [False] * 4),
        ("trajectory_ids", [skyrl.TrajectoryID("sum", n) for n in (0, 1, 0, 1)]),
    ],
)
def test_skyrl_and_our_check_refuse_the_same_steps(skyrl_validate: Any, name: str, bad: list[object]) -> None:
    output = {**skyrl.step_wise(LOOP), name: bad}
    with pytest.raises(AssertionError):
        skyrl_validate(2, output, step_wise=True)
    assert skyrl.check_skyrl(output, 2, step_wise=True) != []


@SESSIONS
def test_verl_takes_its_fields(rows: list[Trajectory]) -> None:
    names = ("AgentLoopMetrics", "AgentLoopOutput")
    surroundings = {"BaseModel": pydantic.BaseModel, "Any": Any, "Optional": Optional}
    output_class = lifted("verl/experimental/agent_loop/agent_loop.py", names, **surroundings)[names[1]]
    for output in verl.agent_loop_outputs(rows):
        taken = output_class.model_validate(output, strict=True, extra="forbid")
        assert taken.model_dump(exclude_unset=True) == output


@SESSIONS
def test_tinker_takes_its_datums(rows: list[Trajectory]) -> None:
    datum_class, input_class, tensor_class = tinker_types()
    for datum in tinker.datums(rows):
        tensors = {name: tensor_class(**tensor) for name, tensor in datum["loss_fn_inputs"].items()}
        taken = datum_class(input_class.model_validate(datum["model_input"], strict=True), tensors)
        assert taken.model_input.to_ints() == datum["model_input"]["chunks"][0]["tokens"]
        assert {name: tensor.data for name, tensor in taken.loss_fn_inputs.items()} == {
            name: pytest.approx(tensor["data"]) for name, tensor in datum["loss_fn_inputs"].items()
        }
