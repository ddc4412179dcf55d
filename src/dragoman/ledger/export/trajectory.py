"""A row of training data: one growing sequence of tokens, as an engine read and sampled it. Pure values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from dragoman.errors import InvalidRequestError
from dragoman.ledger.values import LogprobsKind, RequestClass

# Raised with every field whose meaning changes; fields that are added with a default leave it.
SCHEMA_VERSION = 1


class ExportError(InvalidRequestError):
    """What was recorded has no form in what was asked for."""


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """Sampled tokens of one call of an engine: `token_ids[start:end]`, whose prompt is `token_ids[:start]`.

    turn, sample: whose, and which of that turn's calls. trained: how many of its tokens have mask 1. untold:
    how many would, had they a log-probability. why: the reason where none is trained. temperature: with
    which they were drawn, None where the engine's default held. began, ended: the turn's.
    """

    turn: str
    sample: int
    start: int
    end: int
    trained: int
    untold: int = 0
    why: str = ""
    agent: str = ""
    request_class: RequestClass = "unknown"
    model: str = ""
    finish_reason: str = ""
    logprobs_kind: LogprobsKind = "unknown"
    temperature: float | None = None
    began: float = 0.0
    ended: float = 0.0


class Weights(msgspec.Struct, frozen=True, kw_only=True):
    """Which engine sampled `token_ids[start:end]`, and with which version of its weights; "" is not known."""

    start: int
    end: int
    engine: str
    weight_version: str


class Trajectory(msgspec.Struct, frozen=True, kw_only=True):
    """One sequence with what of it is trained.

    row: its place among the rows of its session. mask: 1 on the tokens to train. logprobs: of those, None
    elsewhere. prompt_length: ids before the first sampled one. broke_at, broke_because: where it begins anew
    though its chain went on, the first token that is not as in the row before, and the cause: one of the
    drift report's, "ends earlier" or "differs".
    """

    schema_version: int = SCHEMA_VERSION
    session: str
    row: int
    token_ids: list[int]
    mask: list[int]
    logprobs: list[float | None]
    prompt_length: int
    spans: list[Span]
    weights: list[Weights]
    broke_at: int | None = None
    broke_because: str = ""
    rewards: dict[str, float] = {}
    metadata: dict[str, Any] = {}

    @property
    def trained(self) -> int:
        """How many of its tokens have mask 1."""
        return sum(self.mask)

    @property
    def prompt_ids(self) -> list[int]:
        """What stood before the first sampled token."""
        return self.token_ids[: self.prompt_length]

    @property
    def response_ids(self) -> list[int]:
        """All that follows: what was sampled, and what was read between."""
        return self.token_ids[self.prompt_length :]

    @property
    def response_mask(self) -> list[int]:
        """The mask of `response_ids`."""
        return self.mask[self.prompt_length :]

    def told(self, start: int, end: int | None = None) -> list[float]:
        """Log-probabilities of a slice, 0.0 off the mask: trainers want a number on every token."""
        return [0.0 if value is None else value for value in self.logprobs[start:end]]

    def reward(self, name: str) -> float:
        """One of its rewards; raises `ExportError` where it has none of that name."""
        if name not in self.rewards:
            raise ExportError(f"session {self.session!r} has no reward {name!r}")
        return self.rewards[name]

    @property
    def group(self) -> str:
        """Whose rewards its own is compared with: the metadata's group, else its task, else itself."""
        for key in ("group", "task"):
            if key in self.metadata:
                value = self.metadata[key]
                return value if isinstance(value, str) else msgspec.json.encode(value).decode()
        return self.session

    @property
    def repetition(self) -> int:
        """Which of its group it is: the metadata's repetition, else 0."""
        value = self.metadata.get("repetition", 0)
        if not isinstance(value, int):
            raise ExportError(f"session {self.session!r}: its repetition is no whole number")
        return value


def by_session(rows: list[Trajectory]) -> Iterator[list[Trajectory]]:
    """The rows of each session in their order; sessions in that of their first row."""
    sessions: dict[str, list[Trajectory]] = {}
    for row in rows:
        sessions.setdefault(row.session, []).append(row)
    for own in sessions.values():
        yield sorted(own, key=lambda row: row.row)
