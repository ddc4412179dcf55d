"""A cache of what was resolved: agents send the same documents with every turn."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, Generic, TypeVar

Value = TypeVar("Value")


class Cache(Generic[Value]):
    """Keeps the values used last: at most `max_bytes` of them, each for `seconds` where that is given.

    Who asks for what is just being made waits for it. What fails is not kept.
    """

    def __init__(
        self, size_of: Callable[[Value], int], *, max_bytes: int, seconds: float | None = None
    ) -> None:
        self._size_of = size_of
        self._left = max_bytes
        self._seconds = seconds
        self._kept: OrderedDict[Hashable, tuple[Value, float]] = OrderedDict()
        self._made: dict[Hashable, asyncio.Task[Value]] = {}

    async def get(self, key: Hashable, make: Callable[[], Awaitable[Value]]) -> Value:
        """The value of a key, made where there is none; raises what `make` raises."""
        if key in self._kept:
            value, until = self._kept[key]
            if self._seconds is None or _now() < until:
                self._kept.move_to_end(key)
                return value
            self._drop(key)
        task = self._made.get(key)
        if task is None:
            task = self._made[key] = asyncio.create_task(self._make(key, make))
            task.add_done_callback(_seen)
        # the work goes on where one of those who wait goes away
        return await asyncio.shield(task)

    async def aclose(self) -> None:
        """Ends what is being made."""
        tasks = list(self._made.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _make(self, key: Hashable, make: Callable[[], Awaitable[Value]]) -> Value:
        try:
            value = await make()
        finally:
            del self._made[key]
        self._kept[key] = (value, _now() + (self._seconds or 0.0))
        self._left -= self._size_of(value)
        while self._left < 0:
            self._drop(next(iter(self._kept)))
        return value

    def _drop(self, key: Hashable) -> None:
        value, _ = self._kept.pop(key)
        self._left += self._size_of(value)


def _now() -> float:
    return asyncio.get_running_loop().time()


def _seen(task: asyncio.Task[Any]) -> None:
    """Takes notice of a failure that nobody may be left to see."""
    if not task.cancelled():
        task.exception()
