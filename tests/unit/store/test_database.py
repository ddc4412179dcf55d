"""The database: transactions, what survives, and who may read it."""

from __future__ import annotations

import asyncio
import resource
import sqlite3
from pathlib import Path

import pytest

from dragoman.errors import ApiError
from dragoman.store.database import FILE_NAME, Database

SCHEMA = ["CREATE TABLE IF NOT EXISTS words (word TEXT PRIMARY KEY)"]


def words(connection: sqlite3.Connection) -> list[str]:
    return [word for (word,) in connection.execute("SELECT word FROM words ORDER BY word")]


async def test_what_was_committed_is_there_after_it_was_opened_again(tmp_path: Path) -> None:
    database = Database(tmp_path / "state", SCHEMA)
    await database.run(lambda it: it.execute("INSERT INTO words VALUES ('one')"))
    await database.aclose()
    await database.aclose()
    assert await database.run(words) == ["one"]
    await database.aclose()


async def test_work_that_fails_leaves_nothing(tmp_path: Path) -> None:
    database = Database(tmp_path, SCHEMA)

    def half(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO words VALUES ('one')")
        raise LookupError("no more")

    with pytest.raises(LookupError, match="no more"):
        await database.run(half)
    assert await database.run(words) == []
    await database.aclose()


async def test_a_database_that_cannot_be_opened_is_an_error_of_the_server(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"no database at all, but long enough to be looked at" * 30)
    database = Database(tmp_path, SCHEMA)
    with pytest.raises(ApiError, match="the store cannot be used") as caught:
        await database.run(words)
    assert "database" in caught.value.log_detail
    await database.aclose()


async def test_the_files_are_for_their_owner_only(tmp_path: Path) -> None:
    database = Database(tmp_path / "state", SCHEMA)
    await database.run(words)
    assert (tmp_path / "state").stat().st_mode & 0o077 == 0
    assert (tmp_path / "state" / FILE_NAME).stat().st_mode & 0o077 == 0
    await database.aclose()


async def test_many_writers_in_two_databases_lose_nothing(tmp_path: Path) -> None:
    one, other = Database(tmp_path, SCHEMA), Database(tmp_path, SCHEMA)

    async def write(database: Database, word: str) -> None:
        await database.run(lambda it: it.execute("INSERT INTO words VALUES (?)", [word]))

    await asyncio.gather(*(write(each, f"{n}{n % 2}") for n, each in enumerate([one, other] * 20)))
    assert len(await one.run(words)) == 40
    await one.aclose()
    await other.aclose()


@pytest.mark.parametrize("size", [300_000, 30_000_000], ids=["at the commit", "before it"])
async def test_a_full_disk_is_said_in_the_log_and_over_when_there_is_room(tmp_path: Path, size: int) -> None:
    database = Database(tmp_path, SCHEMA)
    await database.run(words)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # no file may grow any more; Python ignores the signal that comes with it
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
    try:
        with pytest.raises(ApiError) as caught:
            await database.run(lambda it: it.execute("INSERT INTO words VALUES (?)", ["a" * size]))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.log_detail in {"disk I/O error", "database or disk is full"}
    await database.run(lambda it: it.execute("INSERT INTO words VALUES ('one')"))
    assert await database.run(words) == ["one"]
    await database.aclose()


async def test_what_cannot_be_committed_is_undone(tmp_path: Path) -> None:
    links = "CREATE TABLE IF NOT EXISTS links (word TEXT REFERENCES words DEFERRABLE INITIALLY DEFERRED)"
    database = Database(tmp_path, [*SCHEMA, links])
    with pytest.raises(ApiError):
        await database.run(lambda it: it.execute("INSERT INTO links VALUES ('orphan')"))
    assert await database.run(words) == []
    await database.aclose()


async def test_what_was_large_once_does_not_stay_on_the_disk_twice(tmp_path: Path) -> None:
    database = Database(tmp_path, SCHEMA)
    await database.run(lambda it: it.execute("INSERT INTO words VALUES (?)", ["a" * 20_000_000]))
    await database.run(lambda it: it.execute("INSERT INTO words VALUES ('two')"))
    await database.run(lambda it: it.execute("INSERT INTO words VALUES ('three')"))
    assert (tmp_path / f"{FILE_NAME}-wal").stat().st_size <= 8 * 1024 * 1024
    await database.aclose()
