"""Rows as slime's `Sample`, in the form that `Sample.from_dict` reads."""

from __future__ import annotations

from typing import Any

from dragoman.ledger.export.checks import lengths, numbers, token_ids
from dragoman.ledger.export.trajectory import Trajectory

_STATUS = {"length": "truncated", "abort": "aborted"}
_STATES = {"pending", "completed", "truncated", "aborted", "failed"}


def samples(rows: list[Trajectory], *, reward: str = "reward") -> list[dict[str, Any]]:
    """One for each row that is trained, groups numbered in the order in which they come.

    The texts are left empty: slime trains on `tokens`. `reward` is None where the session has none.
    """
    groups: dict[str, int] = {}
    trained = [row for row in rows if row.trained]
    return [
        _sample(row, index, groups.setdefault(row.group, len(groups)), reward)
        for index, row in enumerate(trained)
    ]


def _sample(row: Trajectory, index: int, group: int, reward: str) -> dict[str, Any]:
    versions = dict.fromkeys(each.weight_version for each in row.weights if each.weight_version)
    return {
        "group_index": group,
        "index": index,
        "prompt": "",
        "tokens": list(row.token_ids),
        "response": "",
        "response_length": len(row.token_ids) - row.prompt_length,
        "reward": row.rewards.get(reward),
        "loss_mask": row.response_mask,
        "weight_versions": list(versions),
        "rollout_log_probs": row.told(row.prompt_length),
        "remove_sample": False,
        "status": _STATUS.get(row.spans[-1].finish_reason, "completed"),
        "metadata": {**row.metadata, "session": row.session, "row": row.row},
        "session_id": row.session,
    }


def check_slime(sample: dict[str, Any]) -> list[str]:
    """What slime would refuse; nothing where it fits.

    The rules are the fields and states of `Sample` in slime's `slime/utils/types.py`, the length of the mask
    that `_convert_samples_to_train_data` in `slime/ray/rollout.py` asserts, and that of the
    log-probabilities, which its trainer compares token by token.
    """
    found = [] if token_ids(sample["tokens"]) else ["tokens are no ids"]
    length = sample["response_length"]
    if not 0 < length <= len(sample["tokens"]):
        return [*found, f"response_length: {length} of {len(sample['tokens'])} tokens"]
    entry = {
        "response": sample["tokens"][-length:],
        "loss_mask": sample["loss_mask"],
        "rollout_log_probs": sample["rollout_log_probs"],
    }
    found += lengths(0, entry, "loss_mask", "rollout_log_probs")
    if sample["status"] not in _STATES:
        found.append(f"status: {sample['status']!r}")
    if sample["reward"] is not None and not numbers(sample["reward"]):
        found.append(f"reward: {sample['reward']!r}")
    return found
