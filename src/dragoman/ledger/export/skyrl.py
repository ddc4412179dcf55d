"""Rows as SkyRL's `GeneratorOutput`: a row for each session, or for each step of one."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import msgspec

from dragoman.ledger.export.checks import entries, numbers, places
from dragoman.ledger.export.trajectory import ExportError, Trajectory, by_session

_ROWS = ("prompt_token_ids", "response_ids", "loss_masks", "rewards", "rollout_logprobs", "stop_reasons")


class TrajectoryID(msgspec.Struct, frozen=True):
    """What SkyRL's class of that name holds, for those who have it not installed."""

    instance_id: str
    repetition_id: int

    def to_string(self) -> str:
        """As it is written in logs and compared."""
        return f"{self.instance_id}_{self.repetition_id}"


def whole(rows: list[Trajectory], *, reward: str = "reward") -> dict[str, Any]:
    """One entry for each session, in the order of their first rows.

    Raises `ExportError` where several rows of a session are trained: those need `step_wise`. A session of
    which nothing is trained has one entry with mask 0, so that a batch keeps its size.
    """
    output = _empty()
    for own in by_session(rows):
        trained = [row for row in own if row.trained] or own[:1]
        if len(trained) > 1:
            raise ExportError(f"session {own[0].session!r} trains {len(trained)} rows: export its steps")
        row = trained[0]
        _add(output, row, row.prompt_length, len(row.token_ids), row.reward(reward))
    _unique(output["trajectory_ids"])
    return output


def step_wise(rows: list[Trajectory], *, reward: str = "reward", merged: bool = False) -> dict[str, Any]:
    """An entry for each call that is trained, or for each row where `merged`; the last one is marked.

    A session's reward stands at its last step, from which SkyRL spreads it over the others.
    """
    output = _empty()
    output["is_last_step"] = []
    sessions = []
    for own in by_session(rows):
        steps = list(_steps(own, merged)) or [(own[-1], own[-1].spans[-1].start, own[-1].spans[-1].end)]
        for number, (row, start, end) in enumerate(steps, 1):
            last = number == len(steps)
            _add(output, row, start, end, row.reward(reward) if last else 0.0)
            output["is_last_step"].append(last)
        sessions.append(output["trajectory_ids"][-1])
    _unique(sessions)
    return output


def _steps(rows: list[Trajectory], merged: bool) -> Iterator[tuple[Trajectory, int, int]]:
    for row in rows:
        if merged and row.trained:
            yield row, row.prompt_length, len(row.token_ids)
        elif not merged:
            yield from ((row, span.start, span.end) for span in row.spans if span.trained)


def _empty() -> dict[str, Any]:
    return {**{name: [] for name in (*_ROWS, "trajectory_ids")}, "rollout_metrics": None}


def _add(output: dict[str, Any], row: Trajectory, start: int, end: int, reward: float) -> None:
    """Appends what was sampled and read from `start` to `end`, after all that stood before."""
    output["prompt_token_ids"].append(row.token_ids[:start])
    output["response_ids"].append(row.token_ids[start:end])
    output["loss_masks"].append(row.mask[start:end])
    output["rewards"].append(reward)
    output["rollout_logprobs"].append(row.told(start, end))
    finish = next(span.finish_reason for span in reversed(row.spans) if span.end <= end)
    output["stop_reasons"].append(finish)
    output["trajectory_ids"].append(TrajectoryID(row.group, row.repetition))


def _unique(identities: list[TrajectoryID]) -> None:
    """SkyRL tells trajectories apart by group and repetition alone."""
    seen: set[TrajectoryID] = set()
    for identity in identities:
        if identity in seen:
            raise ExportError(
                f"two sessions are repetition {identity.repetition_id} of {identity.instance_id!r}"
            )
        seen.add(identity)


def check_skyrl(output: dict[str, Any], num_prompts: int, *, step_wise: bool = False) -> list[str]:
    """What SkyRL would refuse, and what it would only stumble over later; nothing where it fits.

    The rules are those of `validate_generator_output` and `_validate_step_wise_fields` in SkyRL 0.3.0,
    `skyrl/train/utils/trainer_utils.py`. Ours: no empty response, masks of 0 and 1, finite numbers.
    """
    count = len(output["response_ids"])
    if not count:
        return ["nothing was generated"]
    found = [
        f"{name}: {len(output[name])} entries for {count} responses"
        for name in (*_ROWS, "trajectory_ids")
        if output.get(name) is not None and len(output[name]) != count
    ]
    if not step_wise and count != num_prompts:
        found.append(f"{count} responses for {num_prompts} prompts")
    found += places(output["rewards"], "rewards", numbers)
    found += entries(output, "response_ids", "loss_masks", "rollout_logprobs")
    return found + (_check_steps(output, count) if step_wise else [])


def _check_steps(output: dict[str, Any], count: int) -> list[str]:
    last, identities = output.get("is_last_step"), output.get("trajectory_ids")
    if last is None or identities is None or len(last) != count or len(identities) != count:
        return ["is_last_step and trajectory_ids: one for each step"]
    names = [identity.to_string() for identity in identities]
    found = [] if last[-1] is True else ["is_last_step: the last step is no last one"]
    runs = [names[0], *(after for before, after in pairwise(names) if after != before)]
    if len(runs) != len(set(runs)):
        found.append("trajectory_ids: steps of one trajectory are apart")
    found += [
        f"is_last_step: {number} is {last[number]}"
        for number, (before, after) in enumerate(pairwise(names))
        if last[number] is not (before != after)
    ]
    return found
