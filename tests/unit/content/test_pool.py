"""Worker processes that are ended, that hang, and that are busy."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from dragoman.content import pool as pools
from dragoman.content.pages import Job, PageText
from dragoman.content.pool import Worker, WorkerPool
from dragoman.content.refusal import ContentError
from dragoman.content.worker import OUT_OF_MEMORY
from dragoman.errors import ApiError
from tests.support.pdfs import pdf, slow

HELLO = pdf("Hello")


def job(data: bytes = HELLO, seconds: float = 60.0) -> Job:
    return Job(
        data=data,
        images=False,
        max_pages=10,
        max_pixels=10_000,
        max_image_pixels=10_000,
        seconds=seconds,
    )


@pytest.fixture
async def pool() -> AsyncIterator[WorkerPool]:
    made = WorkerPool(2)
    yield made
    await made.aclose()
    assert made.pids == []


async def test_a_worker_is_used_again(pool: WorkerPool) -> None:
    assert pool.pids == []
    assert await pool.read(job()) == [PageText("Hello")]
    (pid,) = pool.pids
    assert await pool.read(job(pdf("Again"))) == [PageText("Again")]
    assert pool.pids == [pid]


async def test_no_more_than_the_size_work_at_a_time(pool: WorkerPool) -> None:
    documents = [pdf(f"Number {number}") for number in range(9)]
    found = await asyncio.gather(*(pool.read(job(data)) for data in documents))
    assert found == [[PageText(f"Number {number}")] for number in range(9)]
    assert len(pool.pids) == 2


async def test_a_worker_that_was_ended_while_idle_is_replaced(pool: WorkerPool) -> None:
    await asyncio.gather(pool.read(job()), pool.read(job()))
    pids = pool.pids
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    found = await asyncio.gather(pool.read(job()), pool.read(job()))
    assert list(found) == [[PageText("Hello")]] * 2
    assert not set(pool.pids) & set(pids)


async def test_a_worker_that_is_ended_at_work_is_replaced(pool: WorkerPool) -> None:
    await pool.read(job())
    (pid,) = pool.pids
    os.kill(pid, signal.SIGSTOP)
    reading = asyncio.create_task(pool.read(job()))
    await asyncio.sleep(0.05)
    os.kill(pid, signal.SIGKILL)
    assert await reading == [PageText("Hello")]
    assert pid not in pool.pids


async def test_a_document_that_ends_two_workers_is_refused(pool: WorkerPool) -> None:
    reading = asyncio.create_task(pool.read(job(slow())))
    seen: set[int] = set()
    while not reading.done():
        for pid in set(pool.pids) - seen:
            seen.add(pid)
            os.kill(pid, signal.SIGKILL)
        await asyncio.sleep(0.01)
    with pytest.raises(ContentError, match="ended, twice: it may need more than the 2 GiB"):
        await reading
    assert len(seen) == 2
    assert await pool.read(job()) == [PageText("Hello")]


async def test_a_document_that_takes_too_much_memory_is_refused(
    pool: WorkerPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready = "sys.stdout.write(chr(0) * 4); sys.stdout.flush(); "
    instead(tmp_path, monkeypatch, f"{ready} sys.stdin.read(1); os._exit({OUT_OF_MEMORY})")
    with pytest.raises(ContentError, match="more than the 2 GiB of memory"):
        await pool.read(job())


async def test_a_document_that_takes_too_long_is_refused(pool: WorkerPool) -> None:
    data = slow()
    await pool.read(job())
    (pid,) = pool.pids
    with pytest.raises(ContentError, match=r"longer than 0.3 s \(documents.seconds\)"):
        await pool.read(job(data, seconds=0.3))
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert await pool.read(job()) == [PageText("Hello")]


async def test_a_worker_that_hangs_is_ended(pool: WorkerPool) -> None:
    await pool.read(job())
    (pid,) = pool.pids
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises(ContentError, match=r"documents\.seconds"):
        await pool.read(job(seconds=0.2))
    assert await pool.read(job()) == [PageText("Hello")]


async def test_a_worker_whose_work_is_not_wanted_any_more_is_ended(pool: WorkerPool) -> None:
    await pool.read(job())
    reading = asyncio.create_task(pool.read(job(slow())))
    await asyncio.sleep(0.1)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert pool.pids == []


async def test_a_worker_that_does_not_listen_is_ended_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "_END", 0.1)
    pool = WorkerPool(1)
    await pool.read(job())
    (pid,) = pool.pids
    os.kill(pid, signal.SIGSTOP)
    await pool.aclose()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_workers_know_no_keys(pool: WorkerPool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRAGOMAN_API_KEYS", '{"a": "secret"}')
    worker = await Worker.start()
    environ = await asyncio.to_thread(Path(f"/proc/{worker.pid}/environ").read_bytes)
    await worker.end()
    assert b"secret" not in environ


def instead(folder: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Has a program of the test started where workers are."""
    program = folder / "python"
    program.write_text(f"#!{sys.executable}\nimport os, sys, time\n{code}\n")
    program.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(program))


async def test_a_worker_that_never_is_ready_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "_START", 0.3)
    instead(tmp_path, monkeypatch, "time.sleep(600)")
    with pytest.raises(ApiError, match="cannot be started"):
        await WorkerPool(1).read(job())


async def test_a_start_that_is_not_wanted_any_more_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe = tmp_path / "pid"
    os.mkfifo(pipe)
    instead(tmp_path, monkeypatch, f"open({str(pipe)!r}, 'w').write(str(os.getpid())); time.sleep(600)")
    reading = asyncio.create_task(WorkerPool(1).read(job()))
    pid = int(await asyncio.to_thread(pipe.read_text))
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_workers_that_cannot_be_started_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(ApiError, match="cannot be started"):
        await WorkerPool(1).read(job())


async def test_the_extra_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "MODULES", ("pypdf", "not_there.at_all"))
    with pytest.raises(ContentError, match=r"pip install 'dragoman\[documents\]'"):
        await WorkerPool(1).read(job())
