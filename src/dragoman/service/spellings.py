"""The spelling of tool arguments as the model wrote them, for when a client sends the call back."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable

from dragoman.wire.identity import Caller

_MAX_BYTES = 64 * 1024 * 1024

_Key = tuple[str, str, str]


class Spellings:
    """Remembers the newest calls: at most `calls` of them, and 64 MiB.

    Calls are kept apart by the caller's scope and session, so nobody reads what somebody else's model wrote.
    """

    def __init__(self, calls: int, max_bytes: int = _MAX_BYTES) -> None:
        self._calls = calls
        self._bytes_left = max_bytes
        self._kept: OrderedDict[_Key, str] = OrderedDict()

    def remember(self, caller: Caller, calls: Iterable[tuple[str, str]]) -> None:
        """Keeps pairs of call id and arguments."""
        owner = _owner(caller)
        for call_id, arguments in calls:
            self._drop((*owner, call_id))
            self._kept[(*owner, call_id)] = arguments
            self._bytes_left -= len(arguments)
        while self._kept and (len(self._kept) > self._calls or self._bytes_left < 0):
            self._drop(next(iter(self._kept)))

    def of(self, caller: Caller) -> Callable[[str], str | None]:
        """A function from a call id to the arguments as the model wrote them."""
        kept, owner = self._kept, _owner(caller)

        def spelling(call_id: str) -> str | None:
            key = (*owner, call_id)
            if key not in kept:
                return None
            kept.move_to_end(key)
            return kept[key]

        return spelling

    def _drop(self, key: _Key) -> None:
        self._bytes_left += len(self._kept.pop(key, ""))


def _owner(caller: Caller) -> tuple[str, str]:
    session = caller.session
    return (caller.scope, session.value if session is not None and session.durable else "")
