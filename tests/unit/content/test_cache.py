"""The cache of what was resolved."""

from __future__ import annotations

import asyncio
import gc

import pytest

from dragoman.content.cache import Cache


class Maker:
    """Makes values, and counts how often."""

    def __init__(self, value: str = "abc") -> None:
        self.made = 0
        self.running = 0
        self.value = value
        self.may_end = asyncio.Event()
        self.may_end.set()

    async def __call__(self) -> str:
        self.made += 1
        self.running += 1
        try:
            await self.may_end.wait()
        finally:
            self.running -= 1
        if not self.value:
            raise ValueError("nothing")
        return self.value


def cache(max_bytes: int = 10, seconds: float | None = None) -> Cache[str]:
    return Cache(len, max_bytes=max_bytes, seconds=seconds)


async def test_a_value_is_made_once() -> None:
    kept, maker = cache(), Maker()
    assert [await kept.get("a", maker) for _ in range(3)] == ["abc"] * 3
    assert maker.made == 1


async def test_the_oldest_go_first() -> None:
    kept, maker = cache(), Maker()
    for key in "abcacad":
        await kept.get(key, maker)
    assert maker.made == 4
    await kept.get("a", maker)
    assert maker.made == 4
    await kept.get("b", maker)
    assert maker.made == 5


async def test_what_is_larger_than_all_is_not_kept() -> None:
    kept, maker = cache(2), Maker()
    assert [await kept.get("a", maker) for _ in range(2)] == ["abc"] * 2
    assert maker.made == 2


async def test_values_can_have_an_end() -> None:
    lasting, passing, maker = cache(seconds=600), cache(seconds=0), Maker()
    for kept in (lasting, lasting, passing, passing):
        await kept.get("a", maker)
    assert maker.made == 3


async def test_who_comes_meanwhile_waits_for_the_same() -> None:
    kept, maker = cache(), Maker()
    maker.may_end.clear()
    first, second = (asyncio.create_task(kept.get("a", maker)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    maker.may_end.set()
    assert await second == "abc"
    assert maker.made == 1


async def test_what_nobody_waits_for_any_more_is_not_made() -> None:
    kept, maker = cache(), Maker()
    maker.may_end.clear()
    waiting = [asyncio.create_task(kept.get("a", maker)) for _ in range(2)]
    await asyncio.sleep(0)
    for one in waiting:
        one.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    # who comes right after that gets a value of its own, and not the end of the other
    later = asyncio.create_task(kept.get("a", maker))
    for _ in range(3):
        await asyncio.sleep(0)
    assert maker.running == 1
    maker.may_end.set()
    assert await later == "abc"
    assert maker.made == 2
    assert await kept.get("a", maker) == "abc"
    assert maker.made == 2


async def test_failures_are_not_kept() -> None:
    kept, maker = cache(), Maker("")
    for _ in range(2):
        with pytest.raises(ValueError, match="nothing"):
            await kept.get("a", maker)
    assert maker.made == 2


async def test_a_failure_that_nobody_sees_is_no_news(caplog: pytest.LogCaptureFixture) -> None:
    kept, maker = cache(), Maker("")
    maker.may_end.clear()
    only = asyncio.create_task(kept.get("a", maker))
    await asyncio.sleep(0)
    only.cancel()
    await asyncio.gather(only, return_exceptions=True)
    maker.may_end.set()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    gc.collect()
    assert caplog.records == []


async def test_the_end_ends_what_is_being_made() -> None:
    kept, maker = cache(), Maker()
    maker.may_end.clear()
    waiting = asyncio.create_task(kept.get("a", maker))
    await asyncio.sleep(0)
    await kept.aclose()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_what_is_ending_is_not_disturbed_by_the_end() -> None:
    kept, tidied = cache(), []

    async def make() -> str:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.01)
            tidied.append("a")
        return ""

    waiting = asyncio.create_task(kept.get("a", make))
    await asyncio.sleep(0.01)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await kept.aclose()
    assert tidied == ["a"]
