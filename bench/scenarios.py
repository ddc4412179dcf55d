"""What is measured: the loads, one after the other, each on every server."""

from __future__ import annotations

import msgspec

from bench.canned import ANSWERS

TOKEN_MS = 20.0
"""The pace of a paced stream: 50 tokens a second."""


class Scenario(msgspec.Struct, frozen=True):
    """One load: how many streams, which answer to which request, at what pace, for how long, how often."""

    name: str
    streams: int
    answer: str
    body: str = "1KB"
    pace_ms: float = 0.0
    seconds: float = 1.0
    runs: int = 3

    @property
    def tokens(self) -> int:
        """Tokens of one stream."""
        return ANSWERS[self.answer].tokens

    @property
    def words(self) -> str:
        """The load in words, for a table."""
        streams = "1 stream" if self.streams == 1 else f"{self.streams} streams"
        size = f"{self.body[:-2]} {self.body[-2:]}"
        return f"{streams} of {self.tokens}, {size}{', paced' if self.pace_ms else ''}"


HEADLINE = "mixed-32"
SCENARIOS = (
    Scenario("mixed-32", 32, "mixed", seconds=2.0, runs=5),
    Scenario("mixed-1", 1, "mixed"),
    Scenario("mixed-256", 256, "mixed"),
    Scenario("short-1", 1, "short"),
    Scenario("short-32", 32, "short"),
    Scenario("short-256", 256, "short"),
    Scenario("100KB-1", 1, "short", "100KB"),
    Scenario("100KB-32", 32, "short", "100KB"),
    Scenario("1MB-1", 1, "short", "1MB", runs=5),
    Scenario("1MB-32", 32, "short", "1MB"),
    Scenario("paced-short-32", 32, "short", pace_ms=TOKEN_MS, seconds=1.5),
    Scenario("paced-1", 1, "brief", pace_ms=TOKEN_MS, seconds=4.0),
    Scenario("paced-32", 32, "brief", pace_ms=TOKEN_MS),
    Scenario("paced-256", 256, "brief", pace_ms=TOKEN_MS),
    Scenario("paced-long-32", 32, "mixed", pace_ms=TOKEN_MS),
)
ONE_STREAM = ("short-1", "mixed-1", "paced-1")
"""Where the first token is held against that of the engine itself."""
LARGE = "1MB-1"
"""Where a large request is held against its decoding and encoding."""
LIVE = Scenario("live", 1000, "short", pace_ms=250.0)
"""Many streams that are all alive at once, for the memory that they take."""
