"""Rows as tinker's `Datum`, in the form of its wire; advantages are the trainer's to add."""

from __future__ import annotations

from typing import Any

from dragoman.ledger.export.checks import numbers, places, token_ids
from dragoman.ledger.export.trajectory import Trajectory

_TYPES = {"target_tokens": "int64", "weights": "float32", "logprobs": "float32", "advantages": "float32"}


def datums(rows: list[Trajectory]) -> list[dict[str, Any]]:
    """One for each row that is trained: the input without its last token, targets without the first.

    `weights` is the mask of the targets. A loss of policy gradients takes `advantages` in its place: the
    advantage of the session where the weight is 1, 0.0 elsewhere.
    """
    return [_datum(row) for row in rows if row.trained]


def _datum(row: Trajectory) -> dict[str, Any]:
    inputs: dict[str, list[Any]] = {
        "target_tokens": row.token_ids[1:],
        "weights": [float(value) for value in row.mask[1:]],
        "logprobs": row.told(1),
    }
    return {
        "model_input": {"chunks": [{"type": "encoded_text", "tokens": row.token_ids[:-1]}]},
        "loss_fn_inputs": {
            name: {"data": data, "dtype": _TYPES[name], "shape": [len(data)]} for name, data in inputs.items()
        },
    }


def check_tinker(datum: dict[str, Any]) -> list[str]:
    """What tinker would refuse; nothing where it fits.

    The rules are those of tinker 0.38.0: the chunks of `ModelInput` and `EncodedTextChunk`, the types of
    `_KEY_TO_TYPE` in `tinker/types/datum.py`; and the one length of inputs, targets and all beside them,
    which `trajectory_to_data` in tinker-cookbook 0.6.1 asserts (`tinker_cookbook/rl/data_processing.py`).
    """
    tokens = []
    for chunk in datum["model_input"]["chunks"]:
        if chunk.get("type") != "encoded_text" or not token_ids(chunk["tokens"]):
            return ["model_input: a chunk is none of ids"]
        tokens += chunk["tokens"]
    found = []
    for name, tensor in datum["loss_fn_inputs"].items():
        if tensor["dtype"] != _TYPES.get(name):
            found.append(f"{name}: {tensor['dtype']}")
        if not tensor["shape"] == [len(tensor["data"])] == [len(tokens)]:
            found.append(f"{name}: {tensor['shape']} for {len(tokens)} tokens")
        found += places(tensor["data"], name, numbers)
    targets = datum["loss_fn_inputs"].get("target_tokens", {"data": []})["data"]
    if targets[:-1] != tokens[1:]:
        found.append("target_tokens: not the next ones of the input")
    return found
