"""One engine call while it runs: what it is given, and what it samples, token by token."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Literal

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
        # engine, weights, and the first id that is theirs
        self._segments: list[tuple[str, str, int]] = []

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
        if self._segments and self._segments[-1][:2] == (engine, version):
            return
        self._segments.append((engine, version, len(self._ids) - len(ids)))

    def closed(self) -> Sample:
        """What was recorded so far."""
        return Sample(
            engine=self.engine,
            door=self.door,
            prompt_ids=tuple(self.prompt_ids),
            sampled_ids=tuple(self._ids),
            logprobs=tuple(self._logprobs),
            logprobs_kind=self.kind,
            segments=self._closed_segments(),
            finish_reason=self.finish_reason,
            base=self.base,
            carried=self.carried,
            drift=self.drift,
        )

    def _closed_segments(self) -> tuple[Segment, ...]:
        firsts = [first for _, _, first in self._segments]
        ends = [*firsts[1:], len(self._ids)][: len(firsts)]
        return tuple(
            Segment(engine, version, end - first)
            for (engine, version, first), end in zip(self._segments, ends, strict=True)
        )
