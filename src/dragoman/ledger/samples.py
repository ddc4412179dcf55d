"""One engine call while it runs: what it is given, and what it samples, token by token."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Literal

import msgspec

from dragoman.ledger.values import Drift, LogprobsKind, Sample, Segment


class OpenSample:
    """Grows with each read; `closed` gives its value. Cheap: it is on the path of every token.

    A log-probability that is missing or not finite is None. Where the engine tells none, there are none.
    """

    def __init__(self, door: Literal["tokens", "chat"], *, kind: LogprobsKind = "unknown") -> None:
        self.door = door
        self.kind = kind
        self.engine = ""
        self.prompt_ids: Sequence[int] = ()
        self.finish_reason = ""
        self.base = ""
        self.carried = 0
        self.drift: Drift | None = None
        self._ids = array("I")
        self._logprobs: list[float | None] = []
        self._segments: list[Segment] = []

    def take(
        self, ids: Sequence[int], logprobs: Sequence[float | None] | None, engine: str, version: str
    ) -> None:
        """Sampled ids of one read, with the engine and the weights that they come from."""
        if not ids:
            return
        self._ids.extend(ids)
        if logprobs is not None:
            # ids without their log-probabilities leave the lengths apart, which is seen
            self._logprobs += logprobs
        last = self._segments[-1] if self._segments else None
        if last is not None and last.engine == engine and last.weight_version == version:
            self._segments[-1] = msgspec.structs.replace(last, tokens=last.tokens + len(ids))
        else:
            self._segments.append(Segment(engine, version, len(ids)))

    def closed(self) -> Sample:
        """What was recorded so far."""
        return Sample(
            engine=self.engine,
            door=self.door,
            prompt_ids=tuple(self.prompt_ids),
            sampled_ids=tuple(self._ids),
            logprobs=tuple(self._logprobs),
            logprobs_kind=self.kind,
            segments=tuple(self._segments),
            finish_reason=self.finish_reason,
            base=self.base,
            carried=self.carried,
            drift=self.drift,
        )
