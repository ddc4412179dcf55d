"""A cache of what was resolved: agents send the same documents with every turn."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Cache(Generic[Value]):
    """Keeps the values used last: at most `max_bytes` of them, each for `seconds` where that is given.

    Who asks for what is just being made waits for it; when all who wait have gone away, it is no longer made.
    What fails is not kept.
    """

    def __init__(
        self, size_of: Callable[[Value], int], *, max_bytes: int, seconds: float | None = None
    ) -> None:
        self._size_of = size_of
        self._left = max_bytes
        self._seconds = seconds
        self._kept: OrderedDict[Hashable, tuple[Value, float]] = OrderedDict()
        self._making: dict[Hashable, _Making[Value]] = {}
        self._tasks: set[asyncio.Task[Value]] = set()

    async def get(self, key: Hashable, make: Callable[[], Awaitable[Value]]) -> Value:
        """The value of a key, made where there is none; raises what `make` raises."""
        if key in self._kept:
            value, until = self._kept[key]
            if self._seconds is None or _now() < until:
                self._kept.move_to_end(key)
                return value
            self._drop(key)
        making = self._making.get(key)
        if making is None:
            making = self._making[key] = self._begin(key, make)
        making.waiting += 1
        try:
            return await asyncio.shield(making.task)
        finally:
            making.waiting -= 1
            if not making.waiting:
                # one who comes from now on must not wait for what is being ended
                self._forget(key, making)
                making.task.cancel()

    async def aclose(self) -> None:
        """Ends what is being made."""
        tasks = list(self._tasks)
        for task in tasks:
            # one that is ending already must not be disturbed in it
            if not task.cancelling():
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _begin(self, key: Hashable, make: Callable[[], Awaitable[Value]]) -> _Making[Value]:
        making = _Making(asyncio.create_task(self._make(key, make)))
        self._tasks.add(making.task)

        def ended(task: asyncio.Task[Value]) -> None:
            self._tasks.discard(task)
            self._forget(key, making)
            # takes notice of a failure that nobody may be left to see
            if not task.cancelled():
                task.exception()

        making.task.add_done_callback(ended)
        return making

    async def _make(self, key: Hashable, make: Callable[[], Awaitable[Value]]) -> Value:
        value = await make()
        self._kept[key] = (value, _now() + (self._seconds or 0.0))
        self._left -= self._size_of(value)
        while self._left < 0:
            self._drop(next(iter(self._kept)))
        return value

    def _forget(self, key: Hashable, making: _Making[Value]) -> None:
        if self._making.get(key) is making:
            del self._making[key]

    def _drop(self, key: Hashable) -> None:
        value, _ = self._kept.pop(key)
        self._left += self._size_of(value)


def _now() -> float:
    return asyncio.get_running_loop().time()


class _Making(Generic[Value]):
    """A value on its way, and how many wait for it."""

    def __init__(self, task: asyncio.Task[Value]) -> None:
        self.task = task
        self.waiting = 0
