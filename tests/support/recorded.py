"""Turns as a ledger records them, for the tests of what is made of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from dragoman.ledger.export.chains import chains_by_prefix
from dragoman.ledger.export.stitch import stitch
from dragoman.ledger.export.trajectory import Trajectory
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


def rollouts(
    *turns: Turn,
    repetitions: Sequence[object] = (0, 1),
    version: str = "8",
    task: object = "sum",
    **metadata: object,
) -> list[Trajectory]:
    """The rows of two rollouts of a task, the second half as good; a tool loop where no turns are given."""
    segments = (Segment("vllm-0", "7", 1), Segment("vllm-0", version, 1))
    loop = (
        turn("t1", sample([1, 2], [10, 11], segments=segments), began=0),
        turn(
            "t2",
            sample([1, 2, 10, 11, 3], [12], segments=segments[1:], finish_reason="length"),
            began=1,
        ),
    )
    named = {"task": task} if task is not None else {}
    return [
        row
        for number, repetition in enumerate(repetitions)
        for row in stitch(
            session(
                f"s{number}", rewards={"reward": 1 / (1 + number)}, repetition=repetition, **named, **metadata
            ),
            chains_by_prefix(turns or loop),
        ).rows
    ]
