"""Rows as verl's `AgentLoopOutput`: the fields that its agent loops return."""

from __future__ import annotations

from typing import Any

from dragoman.ledger.export.checks import lengths, numbers, places, token_ids
from dragoman.ledger.export.trajectory import Trajectory


def agent_loop_outputs(rows: list[Trajectory], *, reward: str = "reward") -> list[dict[str, Any]]:
    """One for each row that is trained; `reward_score` is None where the session has no such reward.

    Versions of weights that are whole numbers become verl's `min_global_steps` and `max_global_steps`.
    """
    return [_output(row, reward) for row in rows if row.trained]


def _output(row: Trajectory, reward: str) -> dict[str, Any]:
    versions = [each.weight_version for each in row.weights]
    steps = [int(version) for version in versions if version.isdecimal()]
    known = len(steps) == len(versions)
    return {
        "prompt_ids": row.prompt_ids,
        "response_ids": row.response_ids,
        "response_mask": row.response_mask,
        "response_logprobs": row.told(row.prompt_length),
        "reward_score": row.rewards.get(reward),
        # Each call answers what a user or a tool said.
        "num_turns": 2 * len(row.spans),
        "metrics": {"generate_sequences": sum(span.ended - span.began for span in row.spans)},
        "extra_fields": {
            "min_global_steps": min(steps) if known else None,
            "max_global_steps": max(steps) if known else None,
            "session": row.session,
            "row": row.row,
            "group": row.group,
        },
    }


def check_verl(
    output: dict[str, Any], *, prompt_length: int | None = None, response_length: int | None = None
) -> list[str]:
    """What verl would refuse; nothing where it fits. The two lengths: those of its rollout settings.

    The rules are the types of `AgentLoopOutput` and `AgentLoopMetrics`, and the paddings of
    `_agent_loop_postprocess`, which take one mask and one log-probability for each response id, all in
    `verl/experimental/agent_loop/agent_loop.py` of verl 0.9.1.
    """
    found = [] if token_ids(output["prompt_ids"]) else ["prompt_ids are no ids"]
    names = ("response_ids", "response_mask", "response_logprobs")
    found += lengths(0, {name: output[name] for name in names}, "response_mask", "response_logprobs")
    limits = (("prompt_ids", prompt_length), ("response_ids", response_length))
    found += [
        f"{name}: {len(output[name])} of at most {limit}"
        for name, limit in limits
        if limit is not None and len(output[name]) > limit
    ]
    scores = [] if output["reward_score"] is None else [output["reward_score"]]
    return found + places([*scores, *output["metrics"].values()], "numbers", numbers)
