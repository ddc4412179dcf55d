"""What a run is judged by."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

import msgspec

from bench.fleet.cache import Prompt
from bench.fleet.engines import Engine


class Figures(msgspec.Struct):
    """Counts of a run. peaks: at each placement, the most calls of an engine over the mean of all."""

    calls: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    asked_again: int = 0
    moves: int = 0
    forced: int = 0
    moved_sessions: set[str] = set()
    waits: list[float] = []
    peaks: list[float] = []
    works: Sequence[float] = ()
    _last: dict[str, str] = {}

    def placed(self, session: str, engine: str, fleet: Mapping[str, Engine]) -> None:
        """A call of a session goes to an engine. A move is forced where the last engine is not there."""
        last = self._last.get(session, engine)
        self._last[session] = engine
        if last != engine:
            self.moves += last in fleet
            self.forced += last not in fleet
            if last in fleet:
                self.moved_sessions.add(session)
        loads = [each.load for each in fleet.values()]
        # of next to no calls, a spread says nothing
        if (total := sum(loads)) >= len(loads):
            self.peaks.append(max(loads) * len(loads) / total)

    def answered(self, prompt: Prompt, cached: int, first: float) -> None:
        """A call has its answer; first: seconds to its first token."""
        self.calls += 1
        self.prompt_tokens += prompt.tokens
        self.cached_tokens += cached
        self.waits.append(first)

    @property
    def hit_rate(self) -> float:
        """The share of prompt tokens that were cached."""
        return self.cached_tokens / self.prompt_tokens

    @property
    def spread(self) -> float:
        """The busiest engine's seconds of work over the mean."""
        return max(self.works) / statistics.fmean(self.works)

    @property
    def peak(self) -> float:
        """The median over time of the most calls of an engine over the mean; 0 where there were too few."""
        return statistics.median(self.peaks) if self.peaks else 0.0

    def wait(self, share: float) -> float:
        """Seconds to the first token that a share of the calls did not pass."""
        return sorted(self.waits)[min(len(self.waits) - 1, int(share * len(self.waits)))]
