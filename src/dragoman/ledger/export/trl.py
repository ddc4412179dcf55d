"""Rows as what TRL's `rollout_func` returns, and as turns of its issue 5974, `TurnCapture`."""

from __future__ import annotations

from typing import Any

from dragoman.ledger.export.checks import entries, token_ids
from dragoman.ledger.export.trajectory import Trajectory

_REQUIRED = ("prompt_ids", "completion_ids", "logprobs")


def rollout(rows: list[Trajectory], *, reward: str = "reward") -> dict[str, Any]:
    """One entry for each row that is trained; `env_mask` is the mask of the completion.

    `reward` and `session` are extra fields, which TRL hands to the reward function: it returns the first.
    """
    trained = [row for row in rows if row.trained]
    return {
        "prompt_ids": [row.prompt_ids for row in trained],
        "completion_ids": [row.response_ids for row in trained],
        "logprobs": [row.told(row.prompt_length) for row in trained],
        "env_mask": [row.response_mask for row in trained],
        "reward": [row.rewards.get(reward) for row in trained],
        "session": [row.session for row in trained],
    }


def turn_captures(rows: list[Trajectory]) -> list[dict[str, Any]]:
    """One for each call all of whose tokens are trained: a turn has no mask of its own there.

    model_version: that of its tokens, the oldest first and joined by commas where there are several.
    """
    return [
        {
            "prompt_ids": row.token_ids[: span.start],
            "completion_ids": row.token_ids[span.start : span.end],
            "logprobs": row.told(span.start, span.end),
            "model_version": ",".join(
                dict.fromkeys(
                    each.weight_version for each in row.weights if span.start <= each.start < span.end
                )
            ),
        }
        for row in rows
        for span in row.spans
        if span.trained == span.end - span.start
    ]


def check_trl(output: dict[str, Any], num_prompts: int) -> list[str]:
    """What TRL would refuse or could not pad; nothing where it fits.

    The rules are those of `_generate` and `_generate_and_score_completions` in TRL 1.16.0,
    `trl/trainer/grpo_trainer.py`: the three required fields, a completion for each prompt, tensors of a
    mask and of log-probabilities that are padded to the completions' shape.
    """
    missing = [name for name in _REQUIRED if name not in output]
    if missing:
        return [f"no {name}" for name in missing]
    found = [
        f"{name}: {len(values)} entries for {num_prompts} prompts"
        for name, values in output.items()
        if len(values) != num_prompts
    ]
    found += [
        f"{n}: prompt_ids are no ids" for n, ids in enumerate(output["prompt_ids"]) if not token_ids(ids)
    ]
    return found + entries(output, "completion_ids", "env_mask", "logprobs")
