"""Files in the store: kept whole or not at all, each scope for itself, gone when their time is over."""

from __future__ import annotations

import asyncio
import signal
import stat
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from dragoman.errors import (
    ApiError,
    FileExpiredError,
    NotFoundError,
    RequestTooLargeError,
    StorageQuotaError,
)
from dragoman.settings import Files, Settings
from dragoman.store.files import FOLDER, REMEMBERED
from dragoman.store.interface import StoredFile
from dragoman.store.store import Store
from tests.support.clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def store(tmp_path: Path, clock: Clock) -> AsyncIterator[Store]:
    """A store whose clock the test moves; at most 10 bytes a file, 25 in all."""
    made = Store(settings(tmp_path), clock)
    yield made
    await made.aclose()


def settings(folder: Path) -> Settings:
    return Settings(state_dir=str(folder / "state"), files=Files(max_bytes=10, quota_bytes=25))


async def keep(
    store: Store, file_id: str, data: bytes = b"hello", *, scope: str = "ann", expires_in: int | None = None
) -> StoredFile:
    async with store.files.upload(scope) as upload:
        await upload.write(data)
        return await upload.keep(file_id, filename="a.txt", mime_type="text/plain", expires_in=expires_in)


def names(store: Store) -> list[str]:
    """What lies in the folder, but for the lock."""
    folder = store.database.folder / FOLDER
    return sorted(path.name for path in folder.iterdir() if path.name != ".lock")


async def test_a_file_is_read_as_it_was_written(store: Store) -> None:
    async with store.files.upload("ann") as upload:
        await upload.write(b"hel")
        await upload.write(b"lo")
        kept = await upload.keep("file_1", filename="a.txt", mime_type="text/plain", expires_in=None)
    assert (kept.size, kept.expires) == (5, None)
    assert await store.files.get("file_1", "ann") == kept
    content = await store.files.read_file("file_1", "ann")
    assert (content.data, content.mime_type, content.filename) == (b"hello", "text/plain", "a.txt")
    found, source = await store.files.open("file_1", "ann")
    with source:
        assert (found, source.read()) == (kept, b"hello")


async def test_nobody_else_may_read_what_lies_there(store: Store) -> None:
    await keep(store, "file_1")
    folder = store.database.folder / FOLDER
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


async def test_another_scope_finds_nothing(store: Store) -> None:
    await keep(store, "file_1")
    with pytest.raises(NotFoundError, match="file_1"):
        await store.files.get("file_1", "bob")
    with pytest.raises(NotFoundError):
        await store.files.read_file("file_1", "bob")
    with pytest.raises(NotFoundError):
        await store.files.delete("file_1", "bob")
    assert await store.files.page("bob", 10) == []
    assert await store.files.some("bob", ["file_1"]) == []
    assert names(store) == ["file_1"]


async def test_an_upload_that_is_not_kept_leaves_nothing(store: Store) -> None:
    async with store.files.upload("ann") as upload:
        await upload.write(b"half")
        (draft,) = names(store)
        assert draft.startswith(".draft-")
    assert names(store) == []
    assert await store.files.page("ann", 10) == []


async def test_a_file_has_a_limit(store: Store) -> None:
    await keep(store, "file_1", b"x" * 10)
    with pytest.raises(RequestTooLargeError, match="10 bytes"):
        await keep(store, "file_2", b"x" * 11)
    assert names(store) == ["file_1"]


async def test_a_scope_has_a_quota_which_others_do_not_use_up(store: Store) -> None:
    await keep(store, "file_1", b"x" * 10)
    await keep(store, "file_2", b"x" * 10)
    with pytest.raises(StorageQuotaError) as caught:
        await keep(store, "file_3", b"x" * 6)
    assert caught.value.error_code == "storage_quota_exceeded"
    await keep(store, "file_4", b"x" * 5)
    await keep(store, "file_5", b"x" * 10, scope="bob")
    await store.files.delete("file_1", "ann")
    await keep(store, "file_6", b"x" * 10)


async def test_uploads_at_the_same_time_share_the_quota(store: Store) -> None:
    await keep(store, "file_1", b"x" * 10)
    async with store.files.upload("ann") as one, store.files.upload("ann") as other:
        await one.write(b"x" * 8)
        await other.write(b"x" * 8)
        await one.keep("file_2", filename="a", mime_type="text/plain", expires_in=None)
        with pytest.raises(StorageQuotaError):
            await other.keep("file_3", filename="a", mime_type="text/plain", expires_in=None)
    assert names(store) == ["file_1", "file_2"]


async def test_pages_begin_with_the_newest_and_outlive_a_deletion(store: Store) -> None:
    kept = [await keep(store, f"file_{number}", b"x") for number in range(5)]
    first = await store.files.page("ann", 2)
    assert first == [kept[4], kept[3]]
    await store.files.delete("file_3", "ann")
    last = first[-1]
    assert await store.files.page("ann", 2, (last.created, last.id)) == [kept[2], kept[1]]
    assert await store.files.some("ann", ["file_0", "file_3", "file_4", "none"]) == [kept[4], kept[0]]


async def test_an_expired_file_is_known_but_cannot_be_read(store: Store, clock: Clock) -> None:
    kept = await keep(store, "file_1", b"x" * 10, expires_in=3600)
    assert kept.expires == kept.created + 3600 * 1_000_000
    clock.pass_by(3601)
    for read in (store.files.read_file, store.files.open):
        with pytest.raises(FileExpiredError) as caught:
            await read("file_1", "ann")
        assert (caught.value.status, caught.value.error_code) == (404, "file_expired")
    assert await store.files.get("file_1", "ann") == kept
    # it takes no room any more
    await keep(store, "file_2", b"x" * 10)
    await keep(store, "file_3", b"x" * 10)


async def test_sweeping_removes_the_bytes_of_expired_files_and_later_all_of_them(
    store: Store, clock: Clock
) -> None:
    kept = await keep(store, "file_1", expires_in=3600)
    await keep(store, "file_2")
    await store.sweep()
    assert names(store) == ["file_1", "file_2"]
    clock.pass_by(3601)
    await store.sweep()
    assert names(store) == ["file_2"]
    assert await store.files.get("file_1", "ann") == kept
    clock.pass_by(REMEMBERED / 1_000_000)
    await store.sweep()
    with pytest.raises(NotFoundError):
        await store.files.get("file_1", "ann")
    assert (await store.files.read_file("file_2", "ann")).data == b"hello"


async def test_sweeping_removes_what_an_upload_left_behind_but_not_one_that_runs(store: Store) -> None:
    await keep(store, "file_1")
    folder = store.database.folder / FOLDER
    (folder / ".draft-dead").write_bytes(b"half")
    (folder / "file_dead").write_bytes(b"renamed, but not told to the database")
    async with store.files.upload("ann") as upload:
        await store.sweep()
        assert len(names(store)) == 4
        await upload.write(b"x")
        await upload.keep("file_2", filename="a", mime_type="text/plain", expires_in=None)
    await store.sweep()
    assert names(store) == ["file_1", "file_2"]


async def test_sweeping_an_empty_store_is_no_trouble(store: Store) -> None:
    assert not store.is_there
    await store.sweep()
    assert store.is_there


async def test_a_deleted_file_is_gone(store: Store) -> None:
    await keep(store, "file_1")
    await store.files.delete("file_1", "ann")
    assert names(store) == []
    with pytest.raises(NotFoundError):
        await store.files.delete("file_1", "ann")


async def test_a_file_that_is_deleted_while_it_is_looked_up_is_not_found(store: Store) -> None:
    await keep(store, "file_1")
    (store.database.folder / FOLDER / "file_1").unlink()
    with pytest.raises(NotFoundError):
        await store.files.read_file("file_1", "ann")


async def test_a_folder_that_cannot_be_used_is_named_in_the_log_only(store: Store) -> None:
    await store.files.page("ann", 1)
    folder = store.database.folder / FOLDER
    folder.write_bytes(b"a file in the folder's place")
    with pytest.raises(ApiError) as caught:
        await keep(store, "file_1")
    assert str(folder) in caught.value.log_detail
    assert str(folder) not in caught.value.message
    folder.unlink()
    await keep(store, "file_1")
    (folder / "file_1").unlink()
    (folder / "file_1").mkdir()
    with pytest.raises(ApiError, match="cannot be read"):
        await store.files.read_file("file_1", "ann")


_KILLED = """
import asyncio, os, signal, sys
from dragoman.settings import Settings
from dragoman.store.store import Store

async def main():
    store = Store(Settings(state_dir=sys.argv[1]))
    async with store.files.upload("ann") as upload:
        await upload.write(b"hello")
        if sys.argv[2] == "renamed":
            store.files.insert = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
            await upload.keep("file_1", filename="a", mime_type="text/plain", expires_in=None)
        os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


@pytest.mark.parametrize("moment", ["written", "renamed"])
async def test_a_process_that_is_killed_leaves_no_half_file(store: Store, moment: str) -> None:
    folder = str(store.database.folder)
    ended = await asyncio.create_subprocess_exec(sys.executable, "-c", _KILLED, folder, moment)
    assert await ended.wait() == -signal.SIGKILL
    assert len(names(store)) == 1
    assert await store.files.page("ann", 10) == []
    await store.sweep()
    assert names(store) == []
