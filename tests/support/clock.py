"""A clock that moves when a test says so."""

from __future__ import annotations


class Clock:
    """Microseconds since 1970; every look moves it by one, so that nothing happens at the same moment."""

    def __init__(self, now: int = 1_700_000_000_000_000) -> None:
        self.now = now

    def __call__(self) -> int:
        self.now += 1
        return self.now

    def pass_by(self, seconds: float) -> None:
        """Lets time pass."""
        self.now += int(seconds * 1_000_000)
