"""Turns as a ledger records them, for the tests of what is made of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from dragoman.ledger.values import Sample, Segment, Session, Turn


def sample(prompt: Sequence[int], sampled: Sequence[int], **fields: Any) -> Sample:
    """A call of an engine; each token's log-probability is told where `fields` say nothing else."""
    told = {
        "logprobs": [-0.5 - n for n in range(len(sampled))],
        "logprobs_kind": "raw",
        "segments": (Segment("vllm-0", "7", len(sampled)),),
        "finish_reason": "stop",
    }
    return Sample(
        engine="vllm-0", door="tokens", prompt_ids=list(prompt), sampled_ids=list(sampled), **(told | fields)
    )


def turn(name: str, *samples: Sample, began: float = 0.0, **fields: Any) -> Turn:
    """A turn that was answered and delivered."""
    told: dict[str, Any] = {"state": "done", "delivered": True, "model": "parrot", "ended": began + 1}
    return Turn(
        id=name,
        scope="alice",
        session="s",
        session_evidence="key",
        samples=samples,
        began=began,
        **(told | fields),
    )


def session(name: str = "s", *, rewards: dict[str, float] | None = None, **metadata: object) -> Session:
    """A rollout with its owner's metadata; its reward is 1 where nothing else is said."""
    raw = {key: msgspec.Raw(msgspec.json.encode(value)) for key, value in metadata.items()}
    return Session(id=name, metadata=raw, rewards={"reward": 1.0} if rewards is None else rewards)
