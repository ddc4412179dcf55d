"""When an engine that keeps failing is left alone, and when it is tried again. Pure: times are passed in."""

from __future__ import annotations

from typing import Literal

BreakerState = Literal["closed", "open", "half-open"]


class Breaker:
    """Closed while calls succeed; open for `seconds` after `failures` in a row; then one call tries.

    That call closes it, or opens it again. Every `begin` is followed by one of `succeeded`, `failed` and
    `dropped`. All times are seconds of one clock that never goes back.
    """

    def __init__(self, failures: int, seconds: float) -> None:
        self._most = failures
        self._seconds = seconds
        self._failures = 0
        self._opened: float | None = None
        self._is_trying = False

    def state(self, now: float) -> BreakerState:
        """How it stands."""
        if self._opened is None:
            return "closed"
        return "open" if now < self._opened + self._seconds else "half-open"

    def allows(self, now: float) -> bool:
        """Whether a call may begin."""
        state = self.state(now)
        return state == "closed" or (state == "half-open" and not self._is_trying)

    def begin(self, now: float) -> None:
        """A call begins, be it allowed or not: where no engine is, one is asked all the same."""
        self._is_trying = self._is_trying or self.state(now) == "half-open"

    def answering(self) -> None:
        """An answer began: an engine that is tried is back, but only a whole answer makes up for failures."""
        if self._is_trying:
            self.succeeded()

    def succeeded(self) -> None:
        """A call was answered."""
        self._failures = 0
        self._opened = None
        self._is_trying = False

    def failed(self, now: float) -> bool:
        """A call failed by the engine's fault; whether that opened the breaker."""
        self._failures += 1
        was_closed, opens = self._opened is None, self._is_trying or self._failures >= self._most
        self._is_trying = False
        if opens:
            self._opened = now
        return opens and was_closed

    def dropped(self) -> None:
        """A call ended and says nothing of the engine: its client left, or it was the client's mistake."""
        self._is_trying = False
