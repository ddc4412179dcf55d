"""How many retries there may be, so that engines which fail are not drowned in them. Pure."""

from __future__ import annotations

# Retries that are there at the start, and the most that are saved up.
_FIRST = 10.0
_MOST = 100.0


class RetryBudget:
    """Each call earns a `share` of a retry; each retry costs a whole one."""

    def __init__(self, share: float) -> None:
        self._share = share
        self._saved = _FIRST if share else 0.0

    def earn(self) -> None:
        """A call came in."""
        self._saved = min(_MOST, self._saved + self._share)

    def take(self) -> bool:
        """Whether there is a retry left; if so, it is spent."""
        if self._saved < 1:
            return False
        self._saved -= 1
        return True
