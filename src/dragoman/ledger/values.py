"""What the ledger holds: sessions, messages by their content, turns with their tokens. Pure values.

Moments are seconds since 1970, log-probabilities natural logarithms.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

# "raw": of the model's distribution, before temperature and cuts; "processed": of what was drawn from.
LogprobsKind = Literal["raw", "processed", "unknown"]
RequestClass = Literal["main", "subagent", "compaction", "side", "unknown"]
DriftCause = Literal[
    "edited text", "cut thinking", "tool-argument spelling", "template", "billing header", "unknown"
]
# In the order of `_RANKS`: what is known later holds.
State = Literal["open", "failed", "cut", "done"]
_RANKS: dict[State, int] = {"open": 0, "failed": 1, "cut": 2, "done": 3}


class Message(msgspec.Struct, frozen=True):
    """A message, or a conversation's head (system and tools), by its content.

    body: canonical JSON; equal bodies have equal digests. `digest` is 32 hexadecimal digits.
    """

    digest: str
    body: bytes


class Segment(msgspec.Struct, frozen=True):
    """Sampled tokens in a row that come from one engine with one version of its weights; "" is not known."""

    engine: str
    weight_version: str
    tokens: int


class Sampling(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How tokens were drawn; None is the engine's default."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_tokens: int | None = None
    max_tokens: int | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()


class Drift(msgspec.Struct, frozen=True, kw_only=True):
    """Where the template would have written a prompt otherwise than as it was read and sampled before.

    at: the first token that differs, counted from the prompt's start. before, after: text around that place
    as it was recorded and as the template writes it. used: which of the two the engine was given.
    """

    at: int
    before: str
    after: str
    cause: DriftCause
    used: Literal["recorded", "template"]


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """One call of an engine: a turn has one, and one more for each round of server tools.

    prompt_ids: the prompt as the engine read it; empty where only text is known. sampled_ids: all that was
    sampled, the id that ended it too. logprobs: one for each sampled id, None where it is not finite or was
    not told; empty where none were told. base: the turn whose prompt and sampled ids this prompt begins with,
    of which `carried` are the same ids, by construction.
    """

    engine: str
    door: Literal["tokens", "chat"]
    prompt_ids: Sequence[int] = ()
    sampled_ids: Sequence[int] = ()
    logprobs: Sequence[float | None] = ()
    logprobs_kind: LogprobsKind = "unknown"
    segments: tuple[Segment, ...] = ()
    finish_reason: str = ""
    base: str = ""
    carried: int = 0
    drift: Drift | None = None

    def why_untrainable(self) -> str:
        """Why no token of it may be trained; "" where all may that have a log-probability."""
        if not self.prompt_ids or not self.sampled_ids:
            return "text only"
        if len(self.logprobs) != len(self.sampled_ids):
            return "no log-probabilities" if not self.logprobs else "lengths differ"
        if sum(segment.tokens for segment in self.segments) != len(self.sampled_ids):
            return "lengths differ"
        return ""


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """A request and its answer.

    path: digests of the request's head and messages, in order. answer: that of the message that answers,
    "" while there is none. request: digest of all that decides the answer (path, tools' choice, sampling), by
    which a retry is known. request_class: what kind of request it is; its evidence is "header", "agent id",
    "shape" or "fingerprint". prompt_tokens, completion_tokens: as billed. hole: why its record is not whole.
    delivered: the last byte went to the client's socket. replay_of: the turn whose recorded answer it got.
    """

    id: str
    scope: str
    session: str
    session_evidence: str
    agent: str = ""
    parent_agent: str = ""
    agent_evidence: str = ""
    request_class: RequestClass = "unknown"
    class_evidence: str = ""
    path: tuple[str, ...] = ()
    answer: str = ""
    request: str = ""
    model: str = ""
    samples: tuple[Sample, ...] = ()
    sampling: Sampling = Sampling()
    asked: Sampling = Sampling()
    state: State = "open"
    stop_reason: str = ""
    error: str = ""
    hole: str = ""
    delivered: bool = False
    replay_of: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    began: float = 0.0
    first_token: float = 0.0
    ended: float = 0.0

    @property
    def rank(self) -> tuple[int, bool, float, bytes]:
        """What is known later is greater; of two records of one turn the greater holds, in any order."""
        return _RANKS[self.state], self.delivered, self.ended, msgspec.json.encode(self.light)

    @property
    def light(self) -> Turn:
        """The turn without its path and samples."""
        return msgspec.structs.replace(self, path=(), samples=())

    def why_untrainable(self) -> str:
        """Why none of its tokens may be trained, whether or not it was confirmed; "" where they may."""
        if self.hole:
            return self.hole
        if self.state != "done":
            return f"its state is {self.state}"
        if self.replay_of:
            return "a replay"
        reasons = [sample.why_untrainable() for sample in self.samples] or ["text only"]
        return next(filter(None, reasons), "")


class Budget(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What a session may use; None is no bound. seconds: from its creation."""

    turns: int | None = None
    tokens: int | None = None
    seconds: float | None = None


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """A rollout, or a session that a client named itself.

    metadata: what its owner says of it (task, group, repetition). sampling: what holds in the place of the
    harness's own values. rewards: by name, the last holds. incomplete: why something of it is missing.
    """

    id: str
    scope: str = ""
    created: float = 0.0
    metadata: dict[str, msgspec.Raw] = {}
    budget: Budget = Budget()
    sampling: Sampling = Sampling()
    rewards: dict[str, float] = {}
    notes: tuple[str, ...] = ()
    state: Literal["open", "finishing", "frozen"] = "open"
    incomplete: str = ""
