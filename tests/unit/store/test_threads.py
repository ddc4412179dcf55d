"""Threads in the store: who may continue them, and for how long."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from dragoman.errors import ThreadAlreadyContinuedError, ThreadContinueInFlightError, ThreadNotFoundError
from dragoman.store.database import Database
from dragoman.store.threads import LONGEST_ANSWER, SCHEMA, ThreadStore

ME, OTHER = "me", "other"


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(tmp_path, SCHEMA)
    yield database
    await database.aclose()


@pytest.fixture
async def store(database: Database) -> ThreadStore:
    """A store that keeps a thread for 300 seconds and at most 100 bytes, with one thread from the time 0."""
    store = ThreadStore(database, seconds=300.0, max_bytes=100)
    await store.create(ME, "msg_1", b"one", 0.0)
    return store


async def rows(database: Database) -> tuple[int, int]:
    """How many threads and turns there are."""
    count = "SELECT (SELECT count(*) FROM threads), (SELECT count(*) FROM thread_turns)"
    threads, turns = await database.run(lambda it: it.execute(count).fetchone())
    return threads, turns


async def test_turns_are_found_by_their_newest_answer(store: ThreadStore) -> None:
    held = await store.hold(ME, "msg_1", "a", 1.0)
    assert held.turns == [b"one"]
    assert await store.extend(held, ME, "msg_2", b"two", 2.0)
    assert (await store.hold(ME, "msg_2", "b", 3.0)).turns == [b"one", b"two"]


async def test_each_answer_is_continued_once(store: ThreadStore) -> None:
    held = await store.hold(ME, "msg_1", "a", 1.0)
    with pytest.raises(ThreadContinueInFlightError) as caught:
        await store.hold(ME, "msg_1", "b", 2.0)
    assert (caught.value.status, caught.value.error_code) == (400, "thread_continue_in_flight")
    await store.extend(held, ME, "msg_2", b"two", 3.0)
    with pytest.raises(ThreadAlreadyContinuedError) as continued:
        await store.hold(ME, "msg_1", "b", 4.0)
    assert (continued.value.status, continued.value.error_code) == (400, "thread_already_continued")
    assert "has already been continued" in continued.value.message


async def test_of_many_at_once_one_holds_it(store: ThreadStore) -> None:
    async def hold(holder: str) -> bool:
        try:
            await store.hold(ME, "msg_1", holder, 1.0)
        except ThreadContinueInFlightError:
            return False
        return True

    assert sum(await asyncio.gather(*(hold(str(n)) for n in range(20)))) == 1


@pytest.mark.parametrize(("scope", "message"), [(OTHER, "msg_1"), (ME, "msg_9"), (ME, "")])
async def test_what_is_not_kept_is_not_found(store: ThreadStore, scope: str, message: str) -> None:
    with pytest.raises(ThreadNotFoundError) as caught:
        await store.hold(scope, message, "a", 1.0)
    assert (caught.value.status, caught.value.error_code) == (404, "thread_not_found")


async def test_a_thread_has_its_time_after_each_answer(store: ThreadStore) -> None:
    held = await store.hold(ME, "msg_1", "a", 299.9)
    await store.extend(held, ME, "msg_2", b"two", 400.0)
    held = await store.hold(ME, "msg_2", "b", 699.9)
    await store.extend(held, ME, "msg_3", b"three", 700.0)
    with pytest.raises(ThreadNotFoundError):
        await store.hold(ME, "msg_3", "c", 1_000.0)


async def test_a_thread_that_got_no_further_can_be_continued_again(store: ThreadStore) -> None:
    await store.hold(ME, "msg_1", "a", 200.0)
    await store.release("a", 400.0)
    await store.release("a", 401.0)
    held = await store.hold(ME, "msg_1", "b", 500.0)
    await store.release("a", 501.0)
    assert await store.extend(held, ME, "msg_2", b"two", 502.0)


async def test_a_thread_does_not_expire_under_an_answer_nor_stays_with_one_that_was_killed(
    store: ThreadStore,
) -> None:
    lost = await store.hold(ME, "msg_1", "killed", 1.0)
    assert await store.sweep(LONGEST_ANSWER) == 1
    with pytest.raises(ThreadContinueInFlightError):
        await store.hold(ME, "msg_1", "b", LONGEST_ANSWER)
    assert await store.sweep(LONGEST_ANSWER + 2) == 0
    assert not await store.extend(lost, ME, "msg_2", b"two", LONGEST_ANSWER + 3)


async def test_what_expired_leaves_nothing_behind(store: ThreadStore, database: Database) -> None:
    held = await store.hold(ME, "msg_1", "a", 1.0)
    await store.extend(held, ME, "msg_2", b"two", 2.0)
    assert await rows(database) == (1, 2)
    assert await store.sweep(301.0) == 1
    await store.create(OTHER, "msg_3", b"new", 303.0)
    assert await rows(database) == (1, 1)


async def test_a_conversation_beyond_the_bound_is_not_kept(store: ThreadStore, database: Database) -> None:
    await store.create(ME, "msg_2", b"x" * 101, 1.0)
    held = await store.hold(ME, "msg_1", "a", 1.0)
    await store.extend(held, ME, "msg_3", b"x" * 98, 1.0)
    for message in ("msg_1", "msg_2", "msg_3"):
        with pytest.raises(ThreadNotFoundError):
            await store.hold(ME, message, "b", 2.0)
    assert await rows(database) == (0, 0)


async def test_two_processes_share_threads(store: ThreadStore, tmp_path: Path) -> None:
    database = Database(tmp_path, SCHEMA)
    other = ThreadStore(database, seconds=300.0, max_bytes=100)
    held = await other.hold(ME, "msg_1", "a", 1.0)
    with pytest.raises(ThreadContinueInFlightError):
        await store.hold(ME, "msg_1", "b", 1.0)
    await other.extend(held, ME, "msg_2", b"two", 2.0)
    assert (await store.hold(ME, "msg_2", "c", 3.0)).turns == [b"one", b"two"]
    await database.aclose()
