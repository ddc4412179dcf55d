"""Batches in the store: one result a request, whole or not there, each scope for itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from dragoman.errors import InvalidRequestError, NotFoundError
from dragoman.settings import Settings
from dragoman.store.batches import KEPT
from dragoman.store.interface import OpenBatch, PendingRequest, StoredBatch
from dragoman.store.store import Store
from tests.support.clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def store(tmp_path: Path, clock: Clock) -> AsyncIterator[Store]:
    """A store whose clock the test moves."""
    made = Store(Settings(state_dir=str(tmp_path)), clock)
    yield made
    await made.aclose()


async def create(store: Store, batch_id: str, count: int = 3, scope: str = "ann") -> StoredBatch:
    requests = [(f"id-{number}", b'{"n":%d}' % number) for number in range(count)]
    return await store.batches.create(
        batch_id, scope, requests, lifetime=60, betas=("b1", "b2"), api_version="2023-06-01"
    )


async def test_a_batch_is_kept_with_its_requests(store: Store) -> None:
    made = await create(store, "batch_1")
    assert (made.total, made.expires - made.created) == (3, 60_000_000)
    assert (made.cancel_initiated, made.ended, made.succeeded) == (None, None, 0)
    assert await store.batches.get("batch_1", "ann") == made
    assert await store.batches.unended() == [
        OpenBatch(
            id="batch_1",
            scope="ann",
            expires=made.expires,
            cancel_initiated=None,
            betas=("b1", "b2"),
            api_version="2023-06-01",
        )
    ]
    assert await store.batches.pending("batch_1", -1, 2) == [
        PendingRequest(number=0, params=b'{"n":0}'),
        PendingRequest(number=1, params=b'{"n":1}'),
    ]
    assert await store.batches.pending("batch_1", 1, 2) == [PendingRequest(number=2, params=b'{"n":2}')]


async def test_params_may_be_a_part_of_a_body(store: Store) -> None:
    params = msgspec.json.decode(bytearray(b'[{"n": 0}]'), type=list[msgspec.Raw])
    await store.batches.create("batch_1", "ann", [("id-0", params[0])], lifetime=60)
    assert await store.batches.pending("batch_1", -1, 2) == [PendingRequest(number=0, params=b'{"n": 0}')]


async def test_a_request_takes_one_result_and_the_last_one_ends_the_batch(store: Store) -> None:
    await create(store, "batch_1")
    finish = store.batches.finish
    assert not await finish("batch_1", 2, "succeeded", b"two")
    assert not await finish("batch_1", 0, "errored", b"zero")
    assert not await finish("batch_1", 0, "succeeded", b"again")
    assert [request.number for request in await store.batches.pending("batch_1", -1, 9)] == [1]
    assert await finish("batch_1", 1, "succeeded", b"one")
    assert not await finish("batch_1", 1, "succeeded", b"again")
    ended = await store.batches.get("batch_1", "ann")
    assert ended.ended is not None
    assert (ended.succeeded, ended.errored, ended.canceled, ended.expired) == (2, 1, 0, 0)
    assert await store.batches.results("batch_1", "ann", -1, 2) == [(0, "id-0", b"zero"), (1, "id-1", b"one")]
    assert await store.batches.results("batch_1", "ann", 1, 2) == [(2, "id-2", b"two")]
    assert await store.batches.results("batch_1", "bob", -1, 2) == []
    assert await store.batches.unended() == []


async def test_what_has_not_begun_is_given_up_together(store: Store) -> None:
    await create(store, "batch_1", 5)
    await store.batches.finish("batch_1", 0, "succeeded", b"zero")
    assert not await store.batches.give_up("batch_1", "canceled", b"no", {1, 3})
    await store.batches.finish("batch_1", 3, "succeeded", b"three")
    assert await store.batches.give_up("batch_1", "expired", b"late", ())
    assert not await store.batches.give_up("batch_1", "canceled", b"no", ())
    ended = await store.batches.get("batch_1", "ann")
    assert (ended.succeeded, ended.canceled, ended.expired) == (2, 2, 1)
    found = [result for _, _, result in await store.batches.results("batch_1", "ann", -1, 9)]
    assert found == [b"zero", b"late", b"no", b"three", b"no"]


async def test_a_cancel_is_told_once_and_changes_nothing_that_has_ended(store: Store) -> None:
    await create(store, "batch_1", 1)
    first = await store.batches.cancel("batch_1", "ann")
    assert first.cancel_initiated is not None
    assert await store.batches.cancel("batch_1", "ann") == first
    assert (await store.batches.unended())[0].cancel_initiated == first.cancel_initiated
    await create(store, "batch_2", 1)
    await store.batches.finish("batch_2", 0, "succeeded", b"zero")
    assert (await store.batches.cancel("batch_2", "ann")).cancel_initiated is None


async def test_only_a_batch_that_has_ended_can_be_deleted(store: Store) -> None:
    await create(store, "batch_1", 1)
    with pytest.raises(InvalidRequestError, match="has not ended"):
        await store.batches.delete("batch_1", "ann")
    await store.batches.finish("batch_1", 0, "succeeded", b"zero")
    await store.batches.delete("batch_1", "ann")
    with pytest.raises(NotFoundError):
        await store.batches.get("batch_1", "ann")
    assert await store.batches.results("batch_1", "ann", -1, 9) == []


async def test_another_scope_finds_nothing(store: Store) -> None:
    await create(store, "batch_1", 1)
    for ask in (store.batches.get, store.batches.cancel, store.batches.delete):
        with pytest.raises(NotFoundError, match="batch_1"):
            await ask("batch_1", "bob")
    assert await store.batches.page("bob", 9) == []
    with pytest.raises(InvalidRequestError, match=r"^after_id: "):
        await store.batches.page("bob", 9, after="batch_1")


async def test_pages_begin_with_the_newest(store: Store) -> None:
    for number in range(5):
        await create(store, f"batch_{number}", 1)

    async def page(limit: int, **cursor: str) -> list[int]:
        return [int(batch.id[-1]) for batch in await store.batches.page("ann", limit, **cursor)]

    assert await page(2) == [4, 3]
    assert await page(2, after="batch_3") == [2, 1]
    assert await page(9, after="batch_0") == []
    assert await page(2, before="batch_1") == [3, 2]
    assert await page(9, before="batch_3") == [4]
    with pytest.raises(InvalidRequestError, match=r"^before_id: "):
        await page(1, before="batch_9")


async def test_old_batches_are_swept_once_they_have_ended(store: Store, clock: Clock) -> None:
    await create(store, "batch_1", 1)
    await store.batches.finish("batch_1", 0, "succeeded", b"zero")
    await create(store, "batch_2", 1)
    await store.sweep()
    assert len(await store.batches.page("ann", 9)) == 2
    clock.pass_by(KEPT / 1_000_000 + 1)
    await store.sweep()
    assert [batch.id for batch in await store.batches.page("ann", 9)] == ["batch_2"]
